"""Stage `train` after `prepare`, on the traces of 20 sessions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from augserve.data.tables.splits import assign_parts
from augserve.models.learning.evaluation import evaluate
from augserve.models.learning.stacking import stacked
from augserve.models.learning.target_models import load_models
from augserve.models.learning.training_set import TrainingError, read_training_set
from augserve.models.serving.target import ENDS_IN_TOOL, OUTPUT_LENGTH, QUANTILE_TARGETS, TARGETS, TOOL_DURATION
from augserve.models.serving.tool_tables import ToolTables
from augserve.pipeline.prepare import run as prepare
from augserve.pipeline.project import paths
from augserve.pipeline.train import run as train

Rows = list[dict[str, Any]]
MakeRows = Callable[[int], tuple[Rows, Rows]]
SaveTraces = Callable[[Path, Rows, Rows], None]
QUANTILE_METRICS = {"kendall_tau", "mae", "mae_baseline", "pinball_p90", "pinball_p90_baseline", "coverage_80"}
PROBABILITY_METRICS = {"auc", "brier", "brier_baseline", "calibration_error"}


def test_metrics_contain_every_set_and_target(finished: Path) -> None:
    metrics = json.loads((finished / paths.TRAINING_METRICS).read_text())
    assert set(metrics) == {"gathered", prepare.MIX}
    for of_target in metrics.values():
        assert set(of_target) == {target.name for target in TARGETS}
        assert set(of_target[ENDS_IN_TOOL.name]) >= PROBABILITY_METRICS
        assert all(set(of_target[target.name]) >= QUANTILE_METRICS for target in QUANTILE_TARGETS)


def test_plot_tables_contain_quantiles_and_shares(finished: Path) -> None:
    samples = pd.read_csv(finished / paths.TRAINING_REPORTS / "predictions.csv")
    assert list(samples.columns) == ["target", "set", "actual", "p10", "p50", "p90"]
    assert (samples.p10 <= samples.p90).all()
    assert set(pd.read_csv(finished / paths.TRAINING_REPORTS / "calibration.csv")["quantile"]) == {0.1, 0.5, 0.9}
    shares = pd.read_csv(finished / paths.TRAINING_REPORTS / "importance.csv").groupby("target").gain_share.sum()
    assert np.allclose(shares, 1, atol=1e-4)


def test_predictions_table_contains_only_held_out_sessions(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished)
    data = read_training_set(paths.TRAINING / "output_length.parquet", OUTPUT_LENGTH)
    reported = pd.read_csv(paths.TRAINING_REPORTS / "predictions.csv").query("target == 'output_length'")
    held_out = data.part("test")
    assert len(reported) == len(held_out)
    assert sorted(reported.actual) == sorted(held_out.values)


def test_second_training_writes_identical_models_and_metrics(finished: Path, project: Path) -> None:
    train.main()
    for path in sorted((finished / paths.TRAINED).iterdir()):
        assert (paths.TRAINED / path.name).read_bytes() == path.read_bytes(), path.name
    assert paths.TRAINING_METRICS.read_bytes() == (finished / paths.TRAINING_METRICS).read_bytes()


def test_metrics_at_call_exclude_expected_calls(finished: Path) -> None:
    metrics = json.loads((finished / paths.TRAINING_METRICS).read_text())
    path = finished / paths.TRAINING / f"{TOOL_DURATION.name}.parquet"
    test = read_training_set(path, TOOL_DURATION).part("test")
    column = [feature.name for feature in TOOL_DURATION.features].index("expected")
    models = load_models(finished / paths.TRAINED, TOOL_DURATION)
    tables = ToolTables.parse([(finished / paths.TOOL_TABLES).read_bytes()])
    for source, of_target in metrics.items():
        called = test.select((test.sources == source) & (test.rows[:, column] == 0))
        expected = evaluate(stacked(tables, called, models.predict(called.rows)), called, called)
        for name in ("mae", "pinball_p90", "coverage_80"):
            assert of_target[TOOL_DURATION.name][f"{name}_at_call"] == pytest.approx(expected[name], rel=1e-3)


def test_missing_training_table_is_refused_with_a_remedy(project: Path) -> None:
    (paths.TRAINING / "tool_duration.parquet").unlink()
    with pytest.raises(TrainingError, match="run `dvc repro prepare`"):
        train.main()


def test_baselines_table_compares_all_models_on_the_same_rows(finished: Path) -> None:
    table = pd.read_csv(finished / paths.TRAINING_REPORTS / "baselines.csv")
    lengths = table[(table.target == "output_length") & (table.set == "gathered")]
    parts = {"forest alone", "quantiles of the tool", "median of the tool"}
    assert set(lengths.model) == {"augserve", "median", *parts, "linear", "last value", "max_tokens"}
    assert lengths.rows.nunique() == 1
    assert "| augserve |" in (finished / paths.TRAINING_REPORTS / "baselines.md").read_text()


def test_pinball_baseline_in_metrics_is_that_of_tool_quantiles(finished: Path) -> None:
    table = pd.read_csv(finished / paths.TRAINING_REPORTS / "baselines.csv").set_index(["set", "target", "model"])
    metrics = json.loads((finished / paths.TRAINING_METRICS).read_text())
    for source, of_target in metrics.items():
        for target in QUANTILE_TARGETS:
            rival = table.loc[(source, target.name, "quantiles of the tool")].pinball_p90
            assert rival == pytest.approx(of_target[target.name]["pinball_p90_baseline"], rel=1e-3)


def test_card_contains_its_tables_and_figures(finished: Path) -> None:
    card = (finished / paths.TRAINING_REPORTS / "card.md").read_text()
    for title in (
        "Data",
        "Held-out sessions",
        "Forest and table",
        "Calibration",
        "Known weak spots",
        "How it was learned",
    ):
        assert f"## {title}" in card
    assert "| gathered |" in card.split("## Known weak spots")[1]  # 20 sessions are too few for good models
    for name in ("importance.svg", "calibration.svg"):
        assert (finished / paths.TRAINING_REPORTS / name).stat().st_size < 200_000
        assert name in card
    assert "nan" not in card


def test_set_without_training_calls_is_compared_with_all_sets(
    root: Path, make_rows: MakeRows, save_traces: SaveTraces
) -> None:
    turns, calls = make_rows(20)
    parts = assign_parts({row["session_id"] for row in turns}, 0.15, 0.2)
    learned_turns = [row for row in turns if parts[row["session_id"]] == "test" or not row["turn"]]
    held_out = [row for row in calls if parts[row["session_id"]] == "test"]
    save_traces(root / "data/traces/gathered", learned_turns, held_out)
    prepare.main()
    train.main()
    metrics = json.loads(paths.TRAINING_METRICS.read_text())["gathered"][TOOL_DURATION.name]
    assert metrics["rows"] == 2 * len(held_out)
    assert metrics["pinball_p90_baseline"] > 0
