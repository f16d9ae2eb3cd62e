"""Stage `export` on the models of a small training."""

import json
from pathlib import Path

import numpy as np
import pytest

from augserve.data.workload.mix import augmentation_sessions
from augserve.features.past import vectorize
from augserve.models.learning.onnx_export import ExportError, check_parity, hard_rows
from augserve.models.learning.target_models import load_models
from augserve.models.learning.training_set import TrainingError, read_training_set
from augserve.models.serving.drift import DRIFT_FILE
from augserve.models.serving.onnx_predictor import OnnxPredictor, model_files
from augserve.models.serving.target import OUTPUT_LENGTH, TARGETS, TOOL_DURATION
from augserve.pipeline.export import run as export
from augserve.pipeline.prepare.mix_turns import mix_turns
from augserve.pipeline.project import paths


def test_parity_is_checked_on_more_rows_than_requested(finished: Path) -> None:
    for values in json.loads((finished / export.METRICS).read_text()).values():
        assert values["relative_error"] <= 1e-4
        assert values["rows"] > 200
    assert sorted(path.name for path in (finished / paths.ONNX).iterdir()) == sorted((DRIFT_FILE, *model_files()))


def test_onnx_matches_xgboost_on_real_and_extreme_rows(finished: Path) -> None:
    exported = OnnxPredictor.load(finished / paths.ONNX)
    turns = [turn.past for session in augmentation_sessions(250, 1.0, 12345) for turn in mix_turns(session)]
    vectors = list(vectorize(turns))
    rows = {
        export.TOOL_CALLS.features: np.stack([row for vector in vectors for row in vector.call_features]),
        OUTPUT_LENGTH.features: np.stack([vector.turn_features for vector in vectors]),
    }
    for target in TARGETS:
        real = rows[target.features]
        assert len(real) >= 1000
        no_buckets = real.copy()
        buckets = [index for index, part in enumerate(target.features) if part.name[-1:].isdigit()]
        no_buckets[:, buckets] = 0.0  # a category outside all buckets
        hard = np.concatenate((hard_rows(real, 1), no_buckets))
        assert np.isnan(hard).any()
        assert (np.abs(hard) > 1e30).any()
        assert check_parity(load_models(finished / paths.TRAINED, target), exported, hard, 1e-4) <= 1e-4


def test_drift_reference_of_tool_calls_uses_expected_calls_only(finished: Path) -> None:
    sets = {
        target.name: read_training_set(finished / paths.TRAINING / f"{target.name}.parquet", target)
        for target in TARGETS
    }
    durations = sets[TOOL_DURATION.name]
    column = [feature.name for feature in TOOL_DURATION.features].index("expected")
    assert set(durations.rows[:, column].tolist()) == {0.0, 1.0}
    drift = export.drift_reference(sets, {"output_length": 0.8, "ends_in_tool": None})
    expected = drift.histograms["tool_calls"][column]
    assert (expected.edges.tolist(), expected.shares.tolist()) == ([1.0], [0.0, 1.0, 0.0])
    assert drift.coverage_80 == {"output_length": 0.8}


def test_failed_parity_keeps_the_old_models(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in paths.ONNX.iterdir()}
    monkeypatch.setattr(OnnxPredictor, "tool_duration", lambda self, rows: np.full((len(rows), 3), 1e6, np.float32))
    with pytest.raises(ExportError, match="tool_duration_p"):
        export.main()
    assert {path.name: path.read_bytes() for path in paths.ONNX.iterdir()} == before
    assert [path.name for path in paths.ONNX.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("content", ["", "{}", '{"targets": {}}', "[1]"])
def test_invalid_training_summary_is_refused(project: Path, content: str) -> None:
    paths.TRAINING_SUMMARY.write_text(content)
    with pytest.raises(TrainingError, match=r"summary\.json"):
        export.main()
