import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from augserve.pipeline import tracking


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a database in it: creating one takes seconds."""
    root = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        tracking.tracking_client()
    return root


@pytest.fixture
def client(store: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(store)
    return tracking.tracking_client()


def test_a_run_keeps_parameters_metrics_tags_and_files(client: Any, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a,b\n")
    params = {f"p{index}": index for index in range(150)} | {"list": [1, 2]}
    metrics = {f"set/m{index}": index / 2 for index in range(1200)} | {"unknown": float("nan")}
    with tracking.experiment_run("kept", "first", params, {"load": "2.0"}) as run:
        run.log_metrics(metrics)
        run.log_folder(tmp_path, "reports")
    found = client.get_run(run.id)
    assert (found.info.status, found.info.run_name) == ("FINISHED", "first")
    assert found.data.params == {name: str(value) for name, value in params.items()}
    assert found.data.metrics["set/m1199"] == 599.5
    assert found.data.tags["load"] == "2.0"
    assert [entry.path for entry in client.list_artifacts(run.id, "reports")] == ["reports/table.csv"]


def test_a_run_whose_body_fails_is_marked(client: Any) -> None:
    ids = []

    def fail() -> None:
        with tracking.experiment_run("failing", "one", {}) as run:
            ids.append(run.id)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert client.get_run(ids[0]).info.status == "FAILED"


def test_an_experiment_deleted_in_the_ui_is_taken_up_again(client: Any) -> None:
    with tracking.experiment_run("deleted", "one", {}):
        pass
    client.delete_experiment(client.get_experiment_by_name("deleted").experiment_id)
    code = "from augserve.pipeline.tracking import experiment_run\nwith experiment_run('deleted', 'two', {}): pass"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert client.get_experiment_by_name("deleted").lifecycle_stage == "active"


def test_several_processes_log_at_once(client: Any, store: Path) -> None:
    code = (
        "from augserve.pipeline.tracking import experiment_run\n"
        "for index in range(5):\n"
        "    with experiment_run('crowd', str(index), {'a': 1}) as run: run.log_metrics({'m': index})\n"
    )
    workers = [subprocess.Popen([sys.executable, "-c", code], cwd=store, stderr=subprocess.PIPE) for _ in range(3)]
    outputs = [worker.communicate()[1].decode() for worker in workers]
    assert outputs == ["", "", ""]
    runs = client.search_runs([client.get_experiment_by_name("crowd").experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 15


def test_telemetry_is_off(client: Any) -> None:
    from mlflow.telemetry.utils import is_telemetry_disabled

    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert is_telemetry_disabled()


def test_without_git_the_revision_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracking.git_revision.cache_clear()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    assert tracking.git_revision() == "unknown"
    tracking.git_revision.cache_clear()
