"""train, export and package, on what prepare made."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from augserve.data.tables.splits import assign_parts
from augserve.data.workload.mix import augmentation_sessions
from augserve.features.past import vectorize
from augserve.models.learning.evaluation import evaluate
from augserve.models.learning.onnx_export import ExportError, check_parity, hard_rows
from augserve.models.learning.target_models import load_models
from augserve.models.learning.training_set import TrainingError, read_training_set
from augserve.models.registry.versions import CHAMPION, registered_versions
from augserve.models.serving.bundle import load_bundle
from augserve.models.serving.drift import DRIFT_FILE
from augserve.models.serving.onnx_predictor import OnnxPredictor, model_files
from augserve.models.serving.settings import SettingsError
from augserve.models.serving.target import ENDS_IN_TOOL, OUTPUT_LENGTH, QUANTILE_TARGETS, TARGETS, TOOL_DURATION
from augserve.pipeline.export import run as export
from augserve.pipeline.package import run as package
from augserve.pipeline.prepare import run as prepare
from augserve.pipeline.prepare.mix_turns import mix_turns
from augserve.pipeline.project import paths
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.project.tracking import tracking_client
from augserve.pipeline.train import run as train
from experiments import hyperparameters as search
from experiments import learning_curve as study

Rows = list[dict[str, Any]]
MakeRows = Callable[[int], tuple[Rows, Rows]]
SaveTraces = Callable[[Path, Rows, Rows], None]
METRIC_NAMES = {"kendall_tau", "mae", "mae_baseline", "pinball_p90", "pinball_p90_baseline", "coverage_80"}
CHANCE_NAMES = {"auc", "brier", "brier_baseline", "calibration_error"}


@pytest.fixture
def project(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished root, without its MLflow store, to damage."""
    copy = tmp_path / "project"
    shutil.copytree(finished, copy, ignore=shutil.ignore_patterns("mlflow.db*", "mlartifacts"))
    monkeypatch.chdir(copy)
    return copy


def test_metrics_have_the_agreed_form(finished: Path) -> None:
    metrics = json.loads((finished / paths.TRAINING_METRICS).read_text())
    assert set(metrics) == {"gathered", prepare.MIX}
    for of_target in metrics.values():
        assert set(of_target) == {target.name for target in TARGETS}
        assert set(of_target[ENDS_IN_TOOL.name]) >= CHANCE_NAMES
        assert all(set(of_target[target.name]) >= METRIC_NAMES for target in QUANTILE_TARGETS)


def test_what_a_deployment_recorded_becomes_a_bundle(finished: Path, make_rows: MakeRows) -> None:
    """The recorder's files of two runs of a server, through prepare, train, export and package."""
    for table in ("turns", "tool_calls"):
        assert len(list((finished / "data/traces/gathered").glob(f"{table}-*.parquet"))) == 2
    turns, calls = make_rows(20)
    told = json.loads((finished / prepare.METRICS).read_text())
    assert told["recorded_turns"] == len(turns)
    assert sum(told["rows"]["output_length"]["gathered"].values()) == len(turns)
    assert sum(told["rows"]["tool_duration"]["gathered"].values()) == 2 * len(calls)  # as made, and as expected
    bundle = load_bundle(finished / paths.BUNDLE, "0.32.0")
    assert bundle.manifest.training["gathered"]["output_length"]["rows"] > 0
    rows = read_training_set(finished / paths.TRAINING / "output_length.parquet", OUTPUT_LENGTH).part("test").rows
    assert np.isfinite(bundle.predictor.turns(rows).output_length).all()


def test_plots_are_tables(finished: Path) -> None:
    samples = pd.read_csv(finished / paths.TRAINING_REPORTS / "predictions.csv")
    assert list(samples.columns) == ["target", "set", "actual", "p10", "p50", "p90"]
    assert (samples.p10 <= samples.p90).all()
    assert set(pd.read_csv(finished / paths.TRAINING_REPORTS / "calibration.csv")["quantile"]) == {0.1, 0.5, 0.9}
    shares = pd.read_csv(finished / paths.TRAINING_REPORTS / "importance.csv").groupby("target").gain_share.sum()
    assert np.allclose(shares, 1, atol=1e-4)


def test_only_held_out_sessions_are_reported(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished)
    data = read_training_set(paths.TRAINING / "output_length.parquet", OUTPUT_LENGTH)
    reported = pd.read_csv(paths.TRAINING_REPORTS / "predictions.csv").query("target == 'output_length'")
    held_out = data.part("test")
    assert len(reported) == len(held_out)
    assert sorted(reported.actual) == sorted(held_out.values)


def test_training_again_gives_the_same_models(finished: Path, project: Path) -> None:
    train.main()
    for path in sorted((finished / paths.TRAINED).iterdir()):
        assert (paths.TRAINED / path.name).read_bytes() == path.read_bytes(), path.name
    assert paths.TRAINING_METRICS.read_bytes() == (finished / paths.TRAINING_METRICS).read_bytes()


def test_export_proves_parity_on_more_than_the_rows_asked_for(finished: Path) -> None:
    for values in json.loads((finished / export.METRICS).read_text()).values():
        assert values["relative_error"] <= 1e-4
        assert values["rows"] > 200
    assert sorted(path.name for path in (finished / paths.ONNX).iterdir()) == sorted((DRIFT_FILE, *model_files()))


def test_a_thousand_real_rows_and_hard_ones_are_the_same_in_onnx(finished: Path) -> None:
    exported = OnnxPredictor.load(finished / paths.ONNX)
    turns = [turn.past for session in augmentation_sessions(250, 1.0, 12345) for turn in mix_turns(session)]
    vectors = list(vectorize(turns))
    rows = {
        export.TOOL_CALLS.features: np.stack([row for one in vectors for row in one.call_features]),
        OUTPUT_LENGTH.features: np.stack([one.turn_features for one in vectors]),
    }
    for target in TARGETS:
        real = rows[target.features]
        assert len(real) >= 1000
        unseen = real.copy()
        buckets = [index for index, part in enumerate(target.features) if part.name[-1:].isdigit()]
        unseen[:, buckets] = 0.0  # a category that no bucket knows
        hard = np.concatenate((hard_rows(real, 1), unseen))
        assert np.isnan(hard).any()
        assert (np.abs(hard) > 1e30).any()
        assert check_parity(load_models(finished / paths.TRAINED, target), exported, hard, 1e-4) <= 1e-4


def test_drift_of_calls_is_told_from_what_serving_knows_on_arrival(finished: Path) -> None:
    sets = {
        target.name: read_training_set(finished / paths.TRAINING / f"{target.name}.parquet", target)
        for target in TARGETS
    }
    durations = sets[TOOL_DURATION.name]
    at = [part.name for part in TOOL_DURATION.features].index("expected")
    assert set(durations.rows[:, at].tolist()) == {0.0, 1.0}
    found = export.drift_reference(sets, {"output_length": 0.8, "ends_in_tool": None})
    expected = found.histograms["tool_calls"][at]
    assert (expected.edges.tolist(), expected.shares.tolist()) == ([1.0], [0.0, 1.0, 0.0])
    assert found.coverage_80 == {"output_length": 0.8}


def test_calls_that_are_known_are_judged_apart(finished: Path) -> None:
    metrics = json.loads((finished / paths.TRAINING_METRICS).read_text())
    path = finished / paths.TRAINING / f"{TOOL_DURATION.name}.parquet"
    test = read_training_set(path, TOOL_DURATION).part("test")
    at = [part.name for part in TOOL_DURATION.features].index("expected")
    models = load_models(finished / paths.TRAINED, TOOL_DURATION)
    for source, of_target in metrics.items():
        known = test.select((test.sources == source) & (test.rows[:, at] == 0))
        found = evaluate(models.predict(known.rows), known, known)
        for name in ("mae", "pinball_p90", "coverage_80"):
            assert of_target[TOOL_DURATION.name][f"{name}_at_call"] == pytest.approx(found[name], rel=1e-3)


def test_a_failed_parity_leaves_the_old_models(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in paths.ONNX.iterdir()}
    monkeypatch.setattr(OnnxPredictor, "tool_duration", lambda self, rows: np.full((len(rows), 3), 1e6, np.float32))
    with pytest.raises(ExportError, match="tool_duration_p"):
        export.main()
    assert {path.name: path.read_bytes() for path in paths.ONNX.iterdir()} == before
    assert [path.name for path in paths.ONNX.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("content", ["", "{}", '{"targets": {}}', "[1]"])
def test_a_wrong_training_summary_is_refused(project: Path, content: str) -> None:
    paths.TRAINING_SUMMARY.write_text(content)
    with pytest.raises(TrainingError, match=r"summary\.json"):
        export.main()


def test_a_missing_training_table_says_what_to_run(project: Path) -> None:
    (paths.TRAINING / "tool_duration.parquet").unlink()
    with pytest.raises(TrainingError, match="run `dvc repro prepare`"):
        train.main()


def test_the_bundle_is_whole_and_registered_once(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished)
    bundle = load_bundle(paths.BUNDLE, "0.32.0")
    assert bundle.manifest.evaluation == {"gain at 2x": 1.4}
    assert bundle.manifest.training == json.loads(paths.TRAINING_METRICS.read_text())
    package.main()
    (version,) = registered_versions(tracking_client())
    assert (version.bundle, version.aliases) == (load_bundle(paths.BUNDLE, None).version, (CHAMPION,))
    run = tracking_client().get_run(version.run_id)
    assert run.data.metrics["evaluate/gain at 2x"] == 1.4
    assert run.data.metrics["effective_throughput/augmentation-mix/h100/2x"] == 70.0
    stored = {path.name for path in Path(version.source.removeprefix("file://")).iterdir()}
    assert stored == {path.name for path in paths.BUNDLE.iterdir()}


def test_a_missing_evaluation_or_wrong_settings_keep_the_old_bundle(project: Path) -> None:
    before = load_bundle(paths.BUNDLE, None).version
    paths.TUNED_SETTINGS.write_text('{"slo": {}}')
    with pytest.raises(SettingsError, match=r"scheduler\.json"):
        package.main()
    paths.EVALUATION_METRICS.unlink()
    paths.TUNED_SETTINGS.write_text("not JSON")
    with pytest.raises(StageError, match=r"scheduler\.json"):
        package.main()
    assert load_bundle(paths.BUNDLE, None).version == before


def test_the_models_stand_beside_every_baseline_in_one_table(finished: Path) -> None:
    table = pd.read_csv(finished / paths.TRAINING_REPORTS / "baselines.csv")
    lengths = table[(table.target == "output_length") & (table.set == "gathered")]
    tools = {"median of the tool", "quantiles of the tool"}
    assert set(lengths.model) == {"augserve", "median", *tools, "linear", "last value", "max_tokens"}
    assert lengths.rows.nunique() == 1
    assert "| augserve |" in (finished / paths.TRAINING_REPORTS / "baselines.md").read_text()


def test_the_card_has_tables_of_data_quality_and_weak_spots(finished: Path) -> None:
    card = (finished / paths.TRAINING_REPORTS / "card.md").read_text()
    for title in ("Data", "Held-out sessions", "Calibration", "Known weak spots", "How it was learned"):
        assert f"## {title}" in card
    assert "| gathered |" in card.split("## Known weak spots")[1]  # 20 sessions are too few to be good at all of it
    for name in ("importance.svg", "calibration.svg"):
        assert (finished / paths.TRAINING_REPORTS / name).stat().st_size < 200_000
        assert name in card
    assert "nan" not in card


def test_the_search_and_the_study_write_their_tables(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "TRIALS", 2)
    monkeypatch.setattr(study, "UPPER", {"max_rounds": 5})
    monkeypatch.setattr(study, "SHARES", (0.5, 1.0))
    search.main()
    study.main()
    assert len(pd.read_csv(search.REPORT)) == 2
    curve = pd.read_csv(paths.TRAINING_REPORTS / "learning_curve.csv")
    assert set(curve.share) == {0.5, 1.0}
    moved = pd.read_csv(paths.TRAINING_REPORTS / "transfer.csv")
    assert {("gathered", prepare.MIX), (prepare.MIX, "gathered")} <= set(zip(moved.trained_on, moved.set, strict=True))
    held = pd.read_csv(paths.TRAINING_REPORTS / "coverage.csv").set_index(["set", "target"])
    metrics = json.loads(paths.TRAINING_METRICS.read_text())
    for source, target in (("gathered", "output_length"), (prepare.MIX, "tool_duration")):
        every = held.loc[(source, target)]
        assert every.rows > 3 * metrics[source][target]["rows"]  # all sessions, not only those of the test part
        assert 0.5 < every.coverage_80 < 1
        assert every.coverage_80_low <= every.coverage_80 <= every.coverage_80_high


def test_the_baseline_of_the_metrics_is_the_quantiles_of_the_tool(finished: Path) -> None:
    table = pd.read_csv(finished / paths.TRAINING_REPORTS / "baselines.csv").set_index(["set", "target", "model"])
    metrics = json.loads((finished / paths.TRAINING_METRICS).read_text())
    for source, of_target in metrics.items():
        for target in QUANTILE_TARGETS:
            rival = table.loc[(source, target.name, "quantiles of the tool")].pinball_p90
            assert rival == pytest.approx(of_target[target.name]["pinball_p90_baseline"], rel=1e-3)


def test_a_set_whose_only_tool_calls_are_held_out_is_judged_by_what_all_sets_teach(
    root: Path, make_rows: MakeRows, save_traces: SaveTraces
) -> None:
    turns, calls = make_rows(20)
    parts = assign_parts({row["session_id"] for row in turns}, 0.15, 0.2)
    kept = [row for row in turns if parts[row["session_id"]] == "test" or not row["turn"]]
    held_out = [row for row in calls if parts[row["session_id"]] == "test"]
    save_traces(root / "data/traces/gathered", kept, held_out)
    prepare.main()
    train.main()
    found = json.loads(paths.TRAINING_METRICS.read_text())["gathered"][TOOL_DURATION.name]
    assert found["rows"] == 2 * len(held_out)
    assert found["pinball_p90_baseline"] > 0
