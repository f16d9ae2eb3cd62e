"""The experiments on the predictors, run in a small project."""

import json
from pathlib import Path

import pandas as pd
import pytest

from augserve.pipeline.prepare import run as prepare
from augserve.pipeline.project import paths
from experiments import hyperparameters, learning_curve


def test_search_and_learning_curve_write_their_tables(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hyperparameters, "TRIALS", 2)
    monkeypatch.setattr(learning_curve, "UPPER", {"max_rounds": 5})
    monkeypatch.setattr(learning_curve, "SHARES", (0.5, 1.0))
    hyperparameters.main()
    learning_curve.main()
    assert len(pd.read_csv(hyperparameters.REPORT)) == 2
    curve = pd.read_csv(paths.TRAINING_REPORTS / "learning_curve.csv")
    assert set(curve.share) == {0.5, 1.0}
    transfer = pd.read_csv(paths.TRAINING_REPORTS / "transfer.csv")
    pairs = set(zip(transfer.trained_on, transfer.set, strict=True))
    assert {("gathered", prepare.MIX), (prepare.MIX, "gathered")} <= pairs
    coverage = pd.read_csv(paths.TRAINING_REPORTS / "coverage.csv").set_index(["set", "target"])
    metrics = json.loads(paths.TRAINING_METRICS.read_text())
    for source, target in (("gathered", "output_length"), (prepare.MIX, "tool_duration")):
        row = coverage.loc[(source, target)]
        assert row.rows > 3 * metrics[source][target]["rows"]  # all sessions, not only those of the test part
        assert 0.5 < row.coverage_80 < 1
        assert row.coverage_80_low <= row.coverage_80 <= row.coverage_80_high
