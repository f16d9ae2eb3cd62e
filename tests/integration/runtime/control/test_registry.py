"""A real MLflow server is followed by an engine that runs: a new champion is taken, a bad one is not."""

import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from augserve.models.registry.source import Registry
from augserve.models.registry.versions import promote, register
from augserve.runtime import AugServeScheduler

from ....e2e.bundles import another_bundle, version_of
from ....mlflow_server import mlflow_server
from ..conftest import Engine, EngineMaker
from ..requests import load

pytestmark = pytest.mark.slow


def make_champion(registry: Registry, bundle: Path) -> str:
    client = registry.client
    experiment = client.get_experiment_by_name("e")
    run = client.create_run(client.create_experiment("e") if experiment is None else experiment.experiment_id)
    promote(client, register(client, version_of(bundle), run.info.run_id, bundle.as_uri(), {}))
    return version_of(bundle)


def step_until(engine: Engine, reached: Callable[[Any], object]) -> None:
    assert isinstance(engine.scheduler, AugServeScheduler)
    deadline_s = time.monotonic() + 150
    while not reached(engine.scheduler.engine.metrics.value):
        assert time.monotonic() < deadline_s
        engine.step()
        time.sleep(0.01)


def test_the_champion_of_a_running_registry_is_taken_and_a_bad_one_or_none_changes_nothing(
    make_engine: EngineMaker,
    bundle_folder: Path,
    mlflow_database: Path,
    tmp_path: Path,
    vllm_log: pytest.LogCaptureFixture,
) -> None:
    store = tmp_path / "store"
    store.mkdir()
    shutil.copy(mlflow_database, store / "mlflow.db")
    registry = Registry(f"sqlite:///{store}/mlflow.db")  # a server registers only what its clients have uploaded
    with mlflow_server(store) as address:
        first = make_champion(registry, another_bundle(bundle_folder, tmp_path / "first", 1))
        served = Path(shutil.copytree(bundle_folder, tmp_path / "served"))
        deployment = {"bundle": str(served), "registry": address, "poll_s": 1}
        engine = make_engine(AugServeScheduler, max_num_seqs=4, deployment=deployment)
        vllm_log.set_level(logging.WARNING, "vllm")  # the simulator's engine is quiet
        expected = load(engine, 30)
        step_until(engine, lambda value: value("info", version=first))
        assert not vllm_log.records

        bad = another_bundle(bundle_folder, tmp_path / "bad", 2)
        model = bad / "turns.onnx"
        model.write_bytes(model.read_bytes()[:-100])
        make_champion(registry, bad)
        step_until(engine, lambda value: value("registry_failing"))
        assert version_of(served) == first
        assert "turns.onnx is damaged" in vllm_log.text

    step_until(engine, lambda value: "cannot be read" in vllm_log.text)
    engine.drain()
    assert engine.finished() == expected
    assert engine.scheduler.engine.metrics.value("info", version=first) == 1  # type: ignore[attr-defined]
    assert vllm_log.text.count("turns.onnx is damaged") == 1
