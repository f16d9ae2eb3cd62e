import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from augserve.pipeline.project import tracking


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


def test_what_a_killed_process_left_open_is_ended_and_what_a_living_one_has_open_is_not(client: Any) -> None:
    code = (
        "import os, signal\n"
        "from augserve.pipeline.project.tracking import experiment_run\n"
        "with experiment_run('killed', 'study', {}) as study:\n"
        "    with experiment_run('killed', 'trial', {}, parent_id=study.id): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=False)

    def statuses() -> dict[str, str]:
        runs = client.search_runs([client.get_experiment_by_name("killed").experiment_id])
        return {run.info.run_name: run.info.status for run in runs}

    assert statuses() == {"study": "RUNNING", "trial": "RUNNING"}
    with tracking.experiment_run("killed", "mine", {}), tracking.experiment_run("killed", "other", {}):
        assert statuses() == {"study": "KILLED", "trial": "KILLED", "mine": "RUNNING", "other": "RUNNING"}


def test_an_experiment_deleted_in_the_ui_is_taken_up_again(client: Any) -> None:
    with tracking.experiment_run("deleted", "one", {}):
        pass
    client.delete_experiment(client.get_experiment_by_name("deleted").experiment_id)
    code = (
        "from augserve.pipeline.project.tracking import experiment_run\nwith experiment_run('deleted', 'two', {}): pass"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert client.get_experiment_by_name("deleted").lifecycle_stage == "active"


def test_several_processes_log_at_once(client: Any, store: Path) -> None:
    code = (
        "from augserve.pipeline.project.tracking import experiment_run\n"
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


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A git repository with a file of code and what the pipeline writes, all committed; the working folder."""
    tracked = (
        "runtime/queueing/value.py",
        "params.yaml",
        "data/x.dvc",
        "dvc.lock",
        "README.md",
        "reports/evaluate/table.md",
    )
    for name in tracked:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("one\n")
    git(tmp_path, "init", "--quiet")
    monkeypatch.chdir(tmp_path)
    tracking.git_revision.cache_clear()
    yield tmp_path
    tracking.git_revision.cache_clear()


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    ended = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return ended.stdout.strip()


def committed(folder: Path) -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all")
    return git(folder, "rev-parse", "HEAD")


def test_before_the_first_commit_the_revision_is_unknown(checkout: Path) -> None:
    assert tracking.git_revision() == "unknown"


def test_a_run_of_the_pipeline_leaves_the_revision_clean(checkout: Path) -> None:
    revision = committed(checkout)
    (checkout / "dvc.lock").write_text("other hashes\n")
    (checkout / "README.md").write_text("another table\n")
    (checkout / "reports/evaluate/table.md").unlink()
    (checkout / "reports/evaluate/new.svg").write_text("<svg/>")
    (checkout / "models").mkdir()
    (checkout / "models/not-tracked.json").write_text("{}")
    assert git(checkout, "describe", "--always", "--dirty").endswith("-dirty")  # as git itself sees it
    assert tracking.git_revision() == revision


@pytest.mark.parametrize("name", ["runtime/queueing/value.py", "params.yaml", "data/x.dvc"])
@pytest.mark.parametrize("staged", [False, True])
def test_a_change_of_what_the_pipeline_reads_makes_the_revision_dirty(checkout: Path, name: str, staged: bool) -> None:
    revision = committed(checkout)
    (checkout / name).write_text("another\n")
    if staged:
        git(checkout, "add", name)
    assert tracking.git_revision() == f"{revision}-dirty"


def test_a_file_written_anew_with_the_same_content_is_no_change(checkout: Path) -> None:
    revision = committed(checkout)
    os.utime(checkout / "runtime/queueing/value.py", (1, 1))
    assert tracking.git_revision() == revision


def test_a_run_opened_under_another_is_nested_there(client: Any) -> None:
    with tracking.experiment_run("nesting", "study", {}) as study:
        pass
    with tracking.experiment_run("nesting", "trial", {"a": 1}, parent_id=study.id) as trial:
        trial.log_metrics({"score": 1.0})
    (found,) = client.search_runs(
        [client.get_experiment_by_name("nesting").experiment_id], f"tags.`mlflow.parentRunId` = '{study.id}'"
    )
    assert found.info.run_id == trial.id


def test_a_run_names_the_data_it_was_made_from(client: Any) -> None:
    hashes = {"data/training": "0123456789abcdef0123456789abcdef.dir", "models/onnx": "ab"}
    with tracking.experiment_run("inputs", "one", {}) as run:
        run.log_inputs(hashes)
        run.log_inputs({})
    found = client.get_run(run.id).inputs.dataset_inputs
    assert {entry.dataset.name: entry.dataset.digest for entry in found} == hashes


def test_system_metrics_are_sampled_while_a_run_lasts(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "_SYSTEM_METRICS_S", 0.05)
    with tracking.experiment_run("system", "one", {}, system_metrics=True) as run:
        deadline_s = time.monotonic() + 60
        while not _sampled(client, run.id) and time.monotonic() < deadline_s:
            time.sleep(0.05)
    assert "system/cpu_utilization_percentage" in client.get_run(run.id).data.metrics


def _sampled(client: Any, run_id: str) -> bool:
    return any(name.startswith("system/") for name in client.get_run(run_id).data.metrics)
