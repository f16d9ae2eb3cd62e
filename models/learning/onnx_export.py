"""XGBoost → ONNX, with the models' description in the metadata, and the parity check between the two."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from ...features import feature
from ..serving.onnx_predictor import (
    FEATURES_KEY,
    GRAPHS,
    INPUT,
    MODELS_KEY,
    TABLES_KEY,
    VERSION_KEY,
    Graph,
    OnnxPredictor,
)
from ..serving.predictor import Rows
from ..serving.target import TOOL_DURATION, Target
from ..serving.tool_tables import ToolTables
from .onnx_trees import ensemble
from .target_models import TargetModels

TRAINING_KEY = "augserve.training"
CALIBRATION_KEY = "augserve.calibration"
_OPSETS = (("", 15), ("ai.onnx.ml", 3))
_IR_VERSION = 8
_NEGATIVE = "negative rows"
_BOTH = "rows and negative rows"
_OUTPUT = "margins"
_EXTREMES = (0.0, -1.0, 1.0, 1e9, -1e9, float(np.finfo(np.float32).max), float(np.finfo(np.float32).tiny))


class ExportError(ValueError):
    """An exported model differs from the trained one; the message names the model and the difference."""


def export_models(
    models: Sequence[TargetModels], folder: Path, training: Mapping[str, Any], tables: ToolTables
) -> None:
    """Write one ONNX file per graph into `folder`. `training`: the training summary of each target, by its name."""
    of_target = {part.target.name: part for part in models}
    for graph in GRAPHS:
        parts = [of_target[target.name] for target in graph.targets]
        summary = {target.name: training.get(target.name) for target in graph.targets}
        (folder / graph.file).write_bytes(to_onnx(graph, parts, summary, tables))


def to_onnx(graph: Graph, models: Sequence[TargetModels], training: Mapping[str, Any], tables: ToolTables) -> bytes:
    """One tree ensemble per forest, side by side: input (n, features) float32, output (n, models) float32."""
    width = len(graph.features)
    forests = {name: attributes for part in models for name, attributes in _forests(part, width).items()}
    nodes = [
        helper.make_node("Neg", [INPUT], [_NEGATIVE]),
        helper.make_node("Concat", [INPUT, _NEGATIVE], [_BOTH], axis=1),
        *(
            helper.make_node("TreeEnsembleRegressor", [_BOTH], [name], name, domain="ai.onnx.ml", **attributes)
            for name, attributes in forests.items()
        ),
        helper.make_node("Concat", list(forests), [_OUTPUT], axis=1),
    ]
    inputs = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, width])
    outputs = helper.make_tensor_value_info(_OUTPUT, TensorProto.FLOAT, [None, len(graph.model_names)])
    model = helper.make_model(
        helper.make_graph(nodes, graph.file.removesuffix(".onnx"), [inputs], [outputs]),
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in _OPSETS],
        ir_version=_IR_VERSION,
        producer_name="augserve",
    )
    onnx.checker.check_model(model)
    metadata = {
        MODELS_KEY: json.dumps(graph.model_names),
        VERSION_KEY: str(feature.VERSION),
        FEATURES_KEY: json.dumps([part.name for part in graph.features]),
        TRAINING_KEY: json.dumps(training, sort_keys=True),
        TABLES_KEY: tables.render(graph.tables),
        CALIBRATION_KEY: json.dumps({name: rules for part in models for name, rules in part.offsets().items()}),
    }
    helper.set_model_props(model, metadata)
    return bytes(model.SerializeToString(deterministic=True))


def _forests(models: TargetModels, width: int) -> dict[str, dict[str, Any]]:
    """Attributes of each forest's tree ensemble, including the calibrations of its models, by forest name."""
    trees = iter(models.calibrations)
    return {
        name: ensemble(booster, [next(trees) for _ in quantiles], width)
        for name, booster, quantiles in zip(
            models.target.forest_names, models.boosters, models.target.forests, strict=True
        )
    }


def check_parity(models: TargetModels, exported: OnnxPredictor, rows: Rows, tolerance: float) -> float:
    """Largest relative difference between XGBoost's and ONNX Runtime's predictions over `rows`.

    Raises ExportError if it exceeds `tolerance`.
    """
    expected = _columns(models.predict(rows))
    worst = np.max(np.abs(_columns(predicted(exported, models.target, rows)) - expected) / expected, axis=0, initial=0)
    if not np.all(worst <= tolerance):
        column = int(np.argmax(np.nan_to_num(worst, nan=np.inf)))
        raise ExportError(
            f"{models.target.model_names[column]}: ONNX and XGBoost differ by {worst[column]:.1e} (relative), more "
            f"than {tolerance:.0e}; install the locked releases of onnxruntime and xgboost"
        )
    return float(worst.max())


def predicted(exported: OnnxPredictor, target: Target, rows: Rows) -> Rows:
    """The exported models' predictions of one target."""
    if target is TOOL_DURATION:
        return exported.tool_duration(rows)
    answer: Rows = getattr(exported.turns(rows), target.name)
    return answer


def hard_rows(rows: Rows, seed: int) -> Rows:
    """`rows`; the same with NaN at random cells; the same with extreme values at random cells; a row of NaN."""
    generator = np.random.default_rng(seed)
    missing = np.where(generator.random(rows.shape) < 0.3, np.float32(np.nan), rows)
    chosen = generator.choice(np.array(_EXTREMES, np.float32), rows.shape)
    extreme = np.where(generator.random(rows.shape) < 0.3, chosen, rows)
    unknown = np.full((1, rows.shape[1]), np.nan)
    return np.concatenate((rows, missing, extreme, unknown), dtype=np.float32)


def _columns(values: Rows) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return values.astype(np.float64).reshape(len(values), -1)
