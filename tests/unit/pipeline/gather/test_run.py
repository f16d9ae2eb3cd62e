"""gather's run in MLflow; what the stage does with a real server is tested end to end."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from augserve.pipeline.gather import run as gather
from augserve.pipeline.project import paths
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.project.tracking import tracking_client
from augserve.pipeline.server.process import MODEL_NAME

PARAMS = """
base: {seed: 1}
gather: {duration_s: 20.0, rate_per_s: 1.0, wait_scale: 0.1, max_tokens: 8, temperatures: [1.0]}
"""


@pytest.fixture
def root(mlflow_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(mlflow_database, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / paths.MODEL).mkdir(parents=True)
    (tmp_path / paths.MODEL / "config.json").write_text("{}")
    return tmp_path


def runs() -> list[Any]:
    client = tracking_client()
    return list(client.search_runs([client.get_experiment_by_name("gather").experiment_id]))


def test_a_failed_stage_leaves_a_failed_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_at_the_time = []

    def fail(*_: object) -> None:
        open_at_the_time.extend(run.info.status for run in runs())
        raise StageError("a turn failed")

    monkeypatch.setattr(gather, "_record", fail)
    with pytest.raises(StageError, match="a turn failed"):
        gather.main()
    assert open_at_the_time == ["RUNNING"]
    (run,) = runs()
    assert run.info.status == "FAILED"
    assert (run.data.tags["kind"], run.data.tags["model"]) == ("traces", MODEL_NAME)
    assert run.data.params["rate_per_s"] == "1.0"
    assert run.data.params["seed"] == "1"
