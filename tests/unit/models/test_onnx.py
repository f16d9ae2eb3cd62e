"""Export to ONNX, and prediction with it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from augserve.models.onnx_export import ExportError, check_parity, hard_rows
from augserve.models.onnx_predictor import OnnxPredictor, PredictorError, model_files
from augserve.models.quantile import QuantileModels
from augserve.models.target import OUTPUT_LENGTH
from augserve.models.training_set import TrainingSet

MakeSet = Callable[..., TrainingSet]
WIDTH = len(OUTPUT_LENGTH.features)


@pytest.fixture(scope="session")
def predictor(onnx_folder: Path) -> OnnxPredictor:
    return OnnxPredictor.load(onnx_folder)


@pytest.fixture
def folder(onnx_folder: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(onnx_folder, tmp_path / "onnx"))


def test_onnx_says_what_xgboost_says_on_missing_and_extreme_rows(
    trained: list[QuantileModels], predictor: OnnxPredictor, make_set: MakeSet
) -> None:
    for models in trained:
        rows = hard_rows(make_set(models.target).rows, seed=3)
        assert np.isnan(rows).any()
        assert (np.abs(rows) > 1e30).any()
        assert check_parity(models, predictor, rows, 1e-4) <= 1e-4


def test_a_model_that_differs_is_named(
    trained: list[QuantileModels], predictor: OnnxPredictor, make_set: MakeSet
) -> None:
    models = trained[0]
    swapped = QuantileModels(models.target, (models.boosters[0], models.boosters[0], models.boosters[2]))
    with pytest.raises(ExportError, match="output_length_p50: ONNX and XGBoost differ"):
        check_parity(swapped, predictor, make_set(OUTPUT_LENGTH).rows, 1e-4)


@given(
    rows=arrays(
        np.float32, st.tuples(st.integers(0, 5), st.just(WIDTH)), elements=st.floats(width=32, allow_infinity=True)
    )
)
@settings(max_examples=50)
def test_predictions_are_finite_positive_and_ordered(predictor: OnnxPredictor, rows: np.ndarray) -> None:
    predicted = predictor.turns(rows).output_length
    assert predicted.shape == (len(rows), 3)
    assert predicted.dtype == np.float32
    assert np.isfinite(predicted).all()
    assert (predicted >= OUTPUT_LENGTH.floor).all()
    assert (np.diff(predicted, axis=1) >= 0).all()


def test_a_batch_says_what_single_rows_say(predictor: OnnxPredictor, make_set: MakeSet) -> None:
    rows = make_set(OUTPUT_LENGTH).rows[:64]
    single = np.concatenate([predictor.turns(row[None]).output_length for row in rows])
    np.testing.assert_allclose(predictor.turns(rows).output_length, single, rtol=1e-6)


def test_rows_of_another_width_are_refused(predictor: OnnxPredictor) -> None:
    with pytest.raises(PredictorError, match="tool_duration: rows of shape"):
        predictor.tool_duration(np.zeros((2, WIDTH), np.float32))


def test_a_missing_file_and_one_that_is_no_onnx_are_named(folder: Path) -> None:
    (folder / "tool_duration_p50.onnx").write_bytes(b"not ONNX at all")
    with pytest.raises(PredictorError, match=r"tool_duration_p50\.onnx: not a usable ONNX model") as caught:
        OnnxPredictor.load(folder)
    assert "\n" not in str(caught.value)
    (folder / "tool_duration_p50.onnx").unlink()
    with pytest.raises(PredictorError, match=r"tool_duration_p50\.onnx: No such file"):
        OnnxPredictor.load(folder)


def test_a_model_in_anothers_place_is_refused(folder: Path) -> None:
    shutil.copy(folder / "output_length_p10.onnx", folder / "output_length_p90.onnx")
    with pytest.raises(PredictorError, match=r"output_length_p90\.onnx: its quantile is '0.1', expected '0.9'"):
        OnnxPredictor.load(folder)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("augserve.features_version", "99", "its features_version is '99'"),
        ("augserve.features", '["something", "else"]', "made with other features"),
        ("augserve.target", "color", "its target is 'color'"),
    ],
)
def test_a_model_of_another_release_is_refused(folder: Path, key: str, value: str, message: str) -> None:
    path = folder / model_files()[0]
    model = onnx.load(path)
    next(entry for entry in model.metadata_props if entry.key == key).value = value
    onnx.save(model, path)
    with pytest.raises(PredictorError, match=message):
        OnnxPredictor.load(folder)


def test_a_model_carries_its_training_summary(onnx_folder: Path) -> None:
    found = {entry.key: entry.value for entry in onnx.load(onnx_folder / model_files()[0]).metadata_props}
    assert found["augserve.training"] == '{"rows": 400}'
