"""Export to ONNX, and prediction with it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from augserve.models.learning.onnx_export import ExportError, check_parity, hard_rows
from augserve.models.learning.target_models import TargetModels
from augserve.models.learning.training_set import TrainingSet
from augserve.models.serving.onnx_predictor import TURNS, OnnxPredictor, PredictorError, model_files
from augserve.models.serving.target import OUTPUT_LENGTH, SESSION_REMAINING, TARGETS

MakeSet = Callable[..., TrainingSet]
WIDTH = len(OUTPUT_LENGTH.features)


@pytest.fixture(scope="session")
def predictor(onnx_folder: Path) -> OnnxPredictor:
    return OnnxPredictor.load(onnx_folder)


@pytest.fixture
def folder(onnx_folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(onnx_folder, tmp_path / "onnx"))


def test_onnx_matches_xgboost_on_missing_and_extreme_values(
    trained: list[TargetModels], predictor: OnnxPredictor, make_set: MakeSet
) -> None:
    for models in trained:
        rows = hard_rows(make_set(models.target).rows, seed=3)
        assert np.isnan(rows).any()
        assert (np.abs(rows) > 1e30).any()
        assert check_parity(models, predictor, rows, 1e-4) <= 1e-4


def test_error_names_the_differing_model(
    trained: list[TargetModels], predictor: OnnxPredictor, make_set: MakeSet
) -> None:
    models = trained[TARGETS.index(SESSION_REMAINING)]
    boosters = (models.boosters[0], models.boosters[0], models.boosters[2])
    swapped = TargetModels(models.target, boosters, models.calibrations)
    with pytest.raises(ExportError, match="session_remaining_p50: ONNX and XGBoost differ"):
        check_parity(swapped, predictor, make_set(SESSION_REMAINING).rows, 1e-4)


@given(
    rows=arrays(
        np.float32, st.tuples(st.integers(0, 5), st.just(WIDTH)), elements=st.floats(width=32, allow_infinity=True)
    )
)
@settings(max_examples=50)
def test_predictions_are_finite_positive_and_ordered(predictor: OnnxPredictor, rows: np.ndarray) -> None:
    answer = predictor.turns(rows)
    for predicted in (answer.output_length, answer.session_remaining, answer.session_remaining_tokens):
        assert predicted.shape == (len(rows), 3)
        assert predicted.dtype == np.float32
        assert np.isfinite(predicted).all()
        assert (predicted >= OUTPUT_LENGTH.floor).all()
        assert (np.diff(predicted, axis=1) >= 0).all()
    assert answer.ends_in_tool.shape == (len(rows),)
    assert answer.ends_in_tool.dtype == np.float32
    assert ((answer.ends_in_tool > 0) & (answer.ends_in_tool < 1)).all()


def test_batch_equals_single_rows(predictor: OnnxPredictor, make_set: MakeSet) -> None:
    rows = make_set(OUTPUT_LENGTH).rows[:64]
    single = np.concatenate([predictor.turns(row[None]).output_length for row in rows])
    np.testing.assert_allclose(predictor.turns(rows).output_length, single, rtol=1e-6)


def test_rows_of_another_width_are_refused(predictor: OnnxPredictor) -> None:
    with pytest.raises(PredictorError, match=r"tool_calls\.onnx: rows of shape"):
        predictor.tool_duration(np.zeros((2, WIDTH), np.float32))


def test_error_names_a_missing_or_invalid_graph(folder: Path) -> None:
    (folder / "tool_calls.onnx").write_bytes(b"not ONNX at all")
    with pytest.raises(PredictorError, match=r"tool_calls\.onnx: not a usable ONNX model") as caught:
        OnnxPredictor.load(folder)
    assert "\n" not in str(caught.value)
    (folder / "tool_calls.onnx").unlink()
    with pytest.raises(PredictorError, match=r"tool_calls\.onnx: No such file"):
        OnnxPredictor.load(folder)


def test_graph_under_another_name_is_refused(folder: Path) -> None:
    shutil.copy(folder / "tool_calls.onnx", folder / "turns.onnx")
    with pytest.raises(PredictorError, match=r"turns\.onnx: augserve\.models"):
        OnnxPredictor.load(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("augserve.features_version", "99"),
        ("augserve.features", '["something", "else"]'),
        ("augserve.models", "color"),
    ],
)
def test_a_model_of_another_release_is_refused(folder: Path, key: str, value: str) -> None:
    path = folder / model_files()[0]
    model = onnx.load(path)
    next(entry for entry in model.metadata_props if entry.key == key).value = value
    onnx.save(model, path)
    with pytest.raises(PredictorError, match=key):
        OnnxPredictor.load(folder)


def test_metadata_contains_training_summary_and_calibration(onnx_folder: Path) -> None:
    metadata = {entry.key: entry.value for entry in onnx.load(onnx_folder / TURNS.file).metadata_props}
    assert json.loads(metadata["augserve.training"])["output_length"] == {"rows": 400}
    assert list(json.loads(metadata["augserve.calibration"])) == TURNS.model_names
    assert json.loads(metadata["augserve.models"]) == TURNS.model_names


def test_empty_batch_has_empty_predictions(predictor: OnnxPredictor) -> None:
    answer = predictor.turns(np.empty((0, WIDTH), np.float32))
    assert answer.session_remaining.shape == (0, 3)
    assert answer.ends_in_tool.shape == (0,)
