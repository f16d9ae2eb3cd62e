"""Versions as `package` registers them, on a real store; what is a bundle's own is tested with the stage."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from augserve.data.atomic import write_json
from augserve.models.registry.versions import CHALLENGER, CHAMPION, registered_versions, roll_back
from augserve.models.serving.manifest import Manifest
from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.cli import __main__ as cli
from augserve.pipeline.package import registration
from augserve.pipeline.project import paths
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.project.tracking import git_revision, tracking_client

LOCK = """
schema: '2.0'
stages:
  prepare: {outs: [{path: data/training, md5: 0123456789abcdef0123456789abcdef.dir}, {path: reports/x.json, md5: ab}]}
  tune: {outs: [{path: models/tuned, md5: fedcba9876543210fedcba9876543210.dir}]}
  package: {outs: [{path: models/bundle, md5: '00'}]}
"""


class FakeBundle:
    """What registering reads of a bundle: real ones take seconds to make."""

    def __init__(self, folder: Path, version: str, settings: SchedulerSettings) -> None:
        self.version, self.settings, self.path = version, settings, folder
        self.manifest = Manifest(version, "", git_revision(), ">=0.32,<0.33", {}, {}, {})
        write_json(folder / "scheduler.json", settings.to_json())


@pytest.fixture
def root(mlflow_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(mlflow_database, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "dvc.lock").write_text(LOCK)
    return tmp_path


def evaluation(value: float, load: str = "2x") -> dict[str, Any]:
    cell = {"effective_throughput": value, "ttft_p99_s": 4.2}
    cells = {load: {"augserve": cell, "vllm": {"effective_throughput": 1.0}}}
    return {
        "format": 3,
        "mix": {"h100": cells},
        "capacity90": {"mix": {"h100": {"augserve": 16.3}}},
        "summary": {"over_vllm": 1.5},
    }


def register(root: Path, name: str, found: dict[str, Any], max_wait_s: float = 60.0) -> str:
    write_json(paths.EVALUATION_METRICS, found)
    settings = SchedulerSettings(max_wait_s=max_wait_s)
    bundle: Any = FakeBundle(root / "bundles" / name, name, settings)
    return registration.register_bundle(bundle, {"made": {"output_length": {"mae": 3.0}}}, found)[1]


def test_a_version_has_metrics_settings_and_data_to_compare_by(root: Path) -> None:
    assert register(root, "a", evaluation(70.0), max_wait_s=33.0).startswith("Champion")
    (version,) = registered_versions(tracking_client())
    run = tracking_client().get_run(version.run_id)
    assert tracking_client().get_experiment(run.info.experiment_id).name == "evaluation"
    assert run.data.metrics == {
        "effective_throughput/mix/h100/2x": 70.0,
        "ttft_p99_s/mix/h100/2x": 4.2,
        "capacity90/mix/h100": 16.3,
        "evaluate/over_vllm": 1.5,
        "train/made/output_length/mae": 3.0,
    }
    assert run.data.params["max_wait_s"] == "33.0"
    assert version.tags["git_revision"] == run.data.tags["git_revision"] == git_revision()
    assert version.tags["dvc.data/training"] == "0123456789abcdef0123456789abcdef.dir"
    assert {entry.dataset.name for entry in run.inputs.dataset_inputs} == {"data/training", "models/tuned"}
    kept = {entry.path for entry in tracking_client().list_artifacts(version.run_id, "reports/evaluate")}
    assert kept == {"reports/evaluate/metrics.json"}
    assert "| mix | h100 | 2x | 70.0 |" in version.description


def test_a_better_version_becomes_champion_and_a_worse_one_challenger_with_the_reason(root: Path) -> None:
    register(root, "a", evaluation(70.0))
    assert register(root, "b", evaluation(80.0)).startswith("Champion")
    why = register(root, "c", evaluation(60.0))
    assert why.startswith("Challenger")
    assert "mix on h100 at 2x" in why
    found = registered_versions(tracking_client())
    assert [version.aliases for version in found] == [(), (CHAMPION,), (CHALLENGER,)]
    assert "80.0" in found[2].description


def test_a_champion_whose_report_is_of_an_older_form_stays_champion(root: Path) -> None:
    register(root, "a", evaluation(70.0))
    (version,) = registered_versions(tracking_client())
    report = Path(tracking_client().get_run(version.run_id).info.artifact_uri.removeprefix("file://"))
    (report / paths.EVALUATION_METRICS).write_text('{"format": 0, "goodput": {"vllm": 3}}')
    assert register(root, "b", evaluation(80.0)).startswith("Challenger")
    (report / paths.EVALUATION_METRICS).unlink()
    why = register(root, "c", evaluation(80.0))
    assert "`augserve rollback 3`" in why


def test_a_champion_of_an_older_form_is_compared_in_the_open_loops_that_it_ran(root: Path) -> None:
    register(root, "a", evaluation(70.0))
    (version,) = registered_versions(tracking_client())
    report = Path(tracking_client().get_run(version.run_id).info.artifact_uri.removeprefix("file://"))
    write_json(report / paths.EVALUATION_METRICS, {**evaluation(70.0, "2"), "format": 2})
    assert register(root, "b", evaluation(60.0)).startswith("Challenger")
    assert register(root, "c", evaluation(80.0)).startswith("Champion")


def test_an_evaluation_of_an_older_form_is_refused(root: Path) -> None:
    with pytest.raises(StageError, match=r"evaluate/metrics\.json"):
        register(root, "a", {"mix": {"goodput": 3.0}})
    assert registered_versions(tracking_client()) == []


def test_the_same_bundle_evaluated_anew_stays_one_version(root: Path) -> None:
    register(root, "a", evaluation(70.0))
    register(root, "b", evaluation(60.0))
    assert register(root, "b", evaluation(75.0)).startswith("Champion")
    assert register(root, "b", evaluation(76.0)).startswith("Champion")
    found = registered_versions(tracking_client())
    assert [version.aliases for version in found] == [(), (CHAMPION,)]
    run = tracking_client().get_run(found[1].run_id)
    assert run.data.metrics["effective_throughput/mix/h100/2x"] == 76.0


def test_a_version_that_was_rolled_back_is_not_promoted_by_the_rule(root: Path) -> None:
    register(root, "a", evaluation(70.0))
    register(root, "b", evaluation(80.0))
    roll_back(tracking_client(), None, datetime(2026, 11, 24, tzinfo=UTC))
    assert register(root, "b", evaluation(90.0)).startswith("Rolled back on 2026-11-24")
    assert [version.aliases for version in registered_versions(tracking_client())] == [(CHAMPION,), ()]


def test_versions_lists_and_rollback_goes_back(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    register(root, "20261124-aaaa", evaluation(70.0))
    register(root, "20261124-bbbb", evaluation(80.0))
    cli.main(["rollback"])
    assert capsys.readouterr().out == ("version 1 (bundle 20261124-aaaa) is the champion, instead of version 2\n")
    cli.main(["versions"])
    header, second, first = capsys.readouterr().out.splitlines()
    assert header.split() == ["version", "bundle", "registered", "git", "alias"]
    assert first.startswith("1        20261124-aaaa  2")
    assert "  champion  Champion" in first
    assert second.startswith("2        20261124-bbbb")


@pytest.mark.parametrize("command", [["versions"], ["rollback"], ["pull", "bundle"], ["pull", "champion", "bundle"]])
@pytest.mark.parametrize("registry", ["sqlite:///none.db", "http://127.0.0.1:9"])
def test_an_unreachable_registry_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    registry: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry)
    with pytest.raises(SystemExit):
        cli.main(command)
    error = capsys.readouterr().err
    assert error.startswith(f"error: registry {registry}: ")
    assert len(error.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_lock_without_stages_names_no_data(tmp_path: Path) -> None:
    assert registration.parent_data(tmp_path / "dvc.lock") == {}
    (tmp_path / "dvc.lock").write_text("")
    assert registration.parent_data(tmp_path / "dvc.lock") == {}
    assert json.dumps(registration.parent_data(Path(__file__).parents[4] / "dvc.lock")).count("data/") >= 3
