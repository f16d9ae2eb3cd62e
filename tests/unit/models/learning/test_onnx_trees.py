"""Forests as ONNX tree ensembles: each row reaches the same leaf of each tree as in XGBoost."""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import xgboost as xgb
from hypothesis import example, given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from augserve.models.learning.forest import FitSettings, fit, predict_margins
from augserve.models.learning.onnx_trees import _trees, ensemble, just_below
from augserve.models.learning.training_set import TrainingSet
from augserve.models.serving.target import ENDS_IN_TOOL, OUTPUT_LENGTH, SESSION_REMAINING, Target

MakeSet = Callable[..., TrainingSet]
TINY = float(np.finfo(np.float32).tiny)


def run(attributes: dict[str, object], rows: np.ndarray) -> np.ndarray:
    """Output of the ensemble alone, for rows and negative rows."""
    both = np.concatenate((rows, -rows), axis=1)
    node = helper.make_node("TreeEnsembleRegressor", ["rows"], ["margins"], "one", domain="ai.onnx.ml", **attributes)
    given_ = helper.make_tensor_value_info("rows", TensorProto.FLOAT, [None, both.shape[1]])
    made = helper.make_tensor_value_info("margins", TensorProto.FLOAT, [None, attributes["n_targets"]])
    opsets = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(helper.make_graph([node], "g", [given_], [made]), opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(model)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"rows": both})[0])


def at_thresholds(forest: xgb.Booster, rows: np.ndarray) -> np.ndarray:
    """Rows of thresholds of the forest, the numbers next to them, NaN, and zeros of both signs."""
    draw = np.random.default_rng(0)
    asked: dict[int, list[float]] = {}
    for tree in _trees(forest):
        for feature, value, left in zip(
            tree["split_indices"], tree["split_conditions"], tree["left_children"], strict=True
        ):
            if left != -1:
                near = np.float32(value)
                asked.setdefault(feature, []).extend((near, np.nextafter(near, np.inf), np.nextafter(near, -np.inf)))
    hard = rows.copy()
    for feature, values in asked.items():
        hard[:, feature] = draw.choice(np.array([*values, np.nan, 0.0, -0.0], np.float32), len(rows))
    return hard


@pytest.mark.parametrize("target", [OUTPUT_LENGTH, SESSION_REMAINING, ENDS_IN_TOOL])
def test_rows_at_thresholds_take_the_same_branch_as_xgboost(
    make_set: MakeSet, fit_settings: FitSettings, target: Target
) -> None:
    data = make_set(target)
    data.rows[:, :40] -= np.float32(20)  # thresholds on both sides of 0
    quantiles = target.forests[0]
    forest = fit(data, quantiles, fit_settings, 12)
    still = (
        fit(data, quantiles[:1], fit_settings, 1) if target.kind == "quantiles" else fit(data, (0.5,), fit_settings, 1)
    )
    directions = {direction for tree in _trees(forest) for direction in tree["default_left"]}
    assert directions == {0, 1}
    rows = at_thresholds(forest, data.rows)
    made = run(ensemble(forest, [still] * len(quantiles), rows.shape[1]), rows)
    expected = predict_margins(forest, rows) + predict_margins(still, rows)
    np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-5)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False))
@example(float(TINY))
@example(-float(TINY))
@example(0.0)
def test_predecessor_threshold_is_equivalent(threshold: float) -> None:
    below = just_below(threshold)
    assert below < threshold
    assert below == 0 or abs(below) >= TINY
    value = np.nextafter(np.float32(threshold), np.float32(-np.inf))
    if abs(value) >= TINY:
        assert value <= np.float32(below)
