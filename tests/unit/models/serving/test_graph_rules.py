"""Model files that are refused before ONNX Runtime reads them; the trained ones pass."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from augserve.features import feature
from augserve.models.serving.graph_rules import GraphRuleError, check_graph
from augserve.models.serving.onnx_predictor import (
    FEATURES_KEY,
    GRAPHS,
    MODELS_KEY,
    TURNS,
    VERSION_KEY,
    Graph,
    OnnxPredictor,
    PredictorError,
)

Change = Callable[[Any], None]


def looping(graph: Graph, rounds: int) -> bytes:
    """A graph of the right shape that counts to `rounds` before it answers."""
    width, models = len(graph.features), len(graph.model_names)
    scalar, one = helper.make_tensor_value_info, TensorProto.FLOAT
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Add", ["v", "one"], ["w"])],
        "body",
        [scalar("i", TensorProto.INT64, []), scalar("c", TensorProto.BOOL, []), scalar("v", one, [1])],
        [scalar("d", TensorProto.BOOL, []), scalar("w", one, [1])],
        [helper.make_tensor("one", one, [1], [0.0])],
    )
    nodes = [
        helper.make_node("Loop", ["rounds", "go", "zero"], ["looped"], body=body),
        helper.make_node("MatMul", ["rows", "weights"], ["product"]),
        helper.make_node("Add", ["product", "looped"], ["out"]),
    ]
    stored = [
        helper.make_tensor("rounds", TensorProto.INT64, [], [rounds]),
        helper.make_tensor("go", TensorProto.BOOL, [], [True]),
        helper.make_tensor("zero", one, [1], [0.0]),
        helper.make_tensor("weights", one, [width, models], np.zeros(width * models, np.float32)),
    ]
    inputs, outputs = scalar("rows", one, [None, width]), scalar("out", one, [None, models])
    model = helper.make_model(
        helper.make_graph(nodes, "g", [inputs], [outputs], stored),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    names = {MODELS_KEY: graph.model_names, FEATURES_KEY: [part.name for part in graph.features]}
    helper.set_model_props(
        model, {key: json.dumps(value) for key, value in names.items()} | {VERSION_KEY: str(feature.VERSION)}
    )
    return bytes(model.SerializeToString())


def check(content: bytes) -> None:
    check_graph(content, len(TURNS.features), len(TURNS.model_names))


def trees(model: Any) -> Any:
    return next(node for node in model.graph.node if node.op_type == "TreeEnsembleRegressor")


def attribute(node: Any, name: str) -> Any:
    return next(entry for entry in node.attribute if entry.name == name)


def cyclic(model: Any) -> None:
    children, modes = attribute(trees(model), "nodes_truenodeids").ints, attribute(trees(model), "nodes_modes").strings
    children[next(index for index, mode in enumerate(modes) if mode != b"LEAF")] = 0


def outside(name: str, value: int) -> Change:
    def change(model: Any) -> None:
        attribute(trees(model), name).ints[0] = value

    return change


def many_targets(model: Any) -> None:
    attribute(trees(model), "n_targets").i = 1 << 40


def stored_tensor(model: Any) -> None:
    model.graph.initializer.append(helper.make_tensor("w", TensorProto.FLOAT, [1], [0.0]))


def own_function(model: Any) -> None:
    node = helper.make_node("Identity", ["a"], ["b"])
    model.functions.append(helper.make_function("", "Neg", ["a"], ["b"], [node], [helper.make_opsetid("", 15)]))


def wide(model: Any) -> None:
    model.graph.node.insert(0, helper.make_node("Concat", ["rows"] * 2, ["more"], axis=1))


def other_domain(model: Any) -> None:
    model.graph.node[0].domain = "com.microsoft"


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.file)
def test_a_loop_of_a_trillion_rounds_is_refused_before_it_runs(graph: Graph, onnx_folder: Path) -> None:
    models = {each.file: (onnx_folder / each.file).read_bytes() for each in GRAPHS}
    with pytest.raises(PredictorError, match=rf"{graph.file}.*not allowed"):
        OnnxPredictor(models | {graph.file: looping(graph, 1 << 40)})


@pytest.mark.parametrize(
    "change",
    [
        cyclic,
        outside("nodes_featureids", 1 << 20),
        outside("nodes_featureids", -1),
        outside("target_ids", 999),
        outside("target_nodeids", 1 << 30),
        many_targets,
        stored_tensor,
        own_function,
        wide,
        other_domain,
    ],
)
def test_what_the_exporter_does_not_write_is_refused(change: Change, onnx_folder: Path) -> None:
    content = (onnx_folder / TURNS.file).read_bytes()
    check(content)
    model = onnx.load_from_string(content)
    change(model)
    with pytest.raises(GraphRuleError):
        check(model.SerializeToString())


def test_a_second_graph_in_the_file_is_refused(onnx_folder: Path) -> None:
    """Protobuf would merge both."""
    with pytest.raises(GraphRuleError, match="2 graphs"):
        check((onnx_folder / TURNS.file).read_bytes() * 2)


@pytest.mark.fuzz
@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_is_refused_or_harmless(onnx_folder: Path, data: st.DataObject) -> None:
    content = bytearray((onnx_folder / TURNS.file).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, 400) | st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(0, 2 * len(content))) :]
    with contextlib.suppress(GraphRuleError):
        check(bytes(content))
