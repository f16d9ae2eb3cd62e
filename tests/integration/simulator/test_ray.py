"""Cells on a real Ray of two workers. The tests are skipped where Ray is not installed."""

import dataclasses
import os
import signal
from concurrent.futures import Future
from pathlib import Path

import pytest

from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.simulator.cells.cell import Cell
from augserve.pipeline.simulator.cells.evidence import run_evidence
from augserve.pipeline.simulator.cells.parallel import pool
from augserve.pipeline.simulator.cells.ray_executor import LOCAL
from augserve.pipeline.simulator.cells.schedule import Schedule
from augserve.pipeline.simulator.errors import SimulationError
from augserve.pipeline.simulator.profile import StepProfile
from augserve.pipeline.simulator.record.evidence import Evidence

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def cells(profile: StepProfile, settings: SchedulerSettings, tmp_path: Path) -> list[Cell]:
    path = tmp_path / "small.json"
    profile.save(path)
    cell = Cell("augmentation-mix", "vllm", path, 0.4, 1, Schedule(2.0, 10.0, 5.0), settings, None)
    return [dataclasses.replace(cell, seed=seed) for seed in range(3)]


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")


def die_once(job: tuple[Path, Cell]) -> Evidence:
    """Kill this worker before the first run of the first cell."""
    mark, cell = job
    if cell.seed == 0 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return run_evidence(cell)


def test_ray_gives_the_same_results_though_a_worker_is_killed(cells: list[Cell], tmp_path: Path) -> None:
    expected = [run_evidence(cell) for cell in cells]
    with pool(2, die_once, LOCAL) as submit:
        futures: list[Future[Evidence]] = [submit((tmp_path / "killed", cell)) for cell in cells]
        assert [future.result(timeout=240) for future in futures] == expected
        assert (tmp_path / "killed").exists()
        with pytest.raises(SimulationError, match="one of them"):
            submit((tmp_path / "killed", dataclasses.replace(cells[0], agents=3))).result(timeout=60)


@pytest.mark.parametrize(
    ("on", "said"), [("ray://127.0.0.1:1", "no Ray answers .*ray start --head"), ("spark", "neither 'ray' nor ray://")]
)
def test_a_ray_that_is_away_is_one_line(
    on: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_CLIENT_RECONNECT_GRACE_PERIOD", "1")
    with pytest.raises(StageError, match=said) as error, pool(1, run_evidence, on):
        pass
    assert "\n" not in str(error.value)
