"""Recorded sessions as a workload of the simulator."""

import dataclasses
from pathlib import Path

import pytest

from augserve.data.tables.files import rows_to_table, write_table
from augserve.data.workload.mix import MIX
from augserve.data.workload.model import WorkloadError
from augserve.data.workload.trace_set import Split
from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.project import paths
from augserve.pipeline.simulator.cells import cell as cells
from augserve.pipeline.simulator.cells.cell import Cell, cell_load, run_cell, workload_names
from augserve.pipeline.simulator.cells.schedule import Schedule
from augserve.pipeline.simulator.errors import SimulationError
from augserve.pipeline.simulator.profile import StepProfile


@pytest.fixture
def traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """60 sessions of two turns, some longer than the engine's context."""
    rows = [
        {
            "source": "made",
            "session_id": f"s{number}",
            "turn": turn,
            "arrival_s": number + 5.0 * turn,
            "finish_s": number + 5.0 * turn + 1.0,
            "prompt_tokens": 100 + 400 * turn * number,
            "output_tokens": 20,
        }
        for number in range(60)
        for turn in range(2)
    ]
    write_table(tmp_path / "made" / "turns.parquet", "turns", rows_to_table("turns", rows))
    monkeypatch.setattr(paths, "TRACES", tmp_path)
    cells.load_traces.cache_clear()
    return tmp_path


@pytest.fixture
def cell(profile: StepProfile, settings: SchedulerSettings, tmp_path: Path) -> Cell:
    path = tmp_path / "small.json"
    profile.save(path)
    return Cell("made", "vllm", path, 1.0, 5, Schedule(5.0, 20.0, 5.0), settings, None, Split("report", 0.15, 0.4))


def test_recorded_sessions_are_simulated(traces: Path, cell: Cell) -> None:
    assert "made" in workload_names()
    found = run_cell(cell)
    assert found["turns"] > 5
    assert found["effective_throughput"] > 0


def test_splits_share_no_session_and_rates_share_all(traces: Path, cell: Cell) -> None:
    def served(use: str, rate_per_s: float) -> set[str]:
        part = dataclasses.replace(cell, split=Split(use, 0.15, 0.4), rate_per_s=rate_per_s)  # type: ignore[arg-type]
        return {session.session_id.split("~")[0].split("+")[0] for session in cell_load(part, 16_384).sessions}

    assert served("tune", 1.0)
    assert not served("tune", 1.0) & served("report", 1.0)
    assert served("report", 1.0) & served("report", 2.0)


def test_a_missing_set_is_an_error(traces: Path, cell: Cell) -> None:
    with pytest.raises(SimulationError, match="none"):
        run_cell(dataclasses.replace(cell, workload="none"))


def test_agents_run_recorded_sessions_one_after_the_other(traces: Path, cell: Cell) -> None:
    closed = dataclasses.replace(cell, rate_per_s=None, agents=5, split=None)
    found = run_cell(closed)
    assert found["sessions_per_hour"] > 0
    assert found["turns"] > 5
    more = run_cell(dataclasses.replace(closed, agents=61))  # there are 60 sessions
    assert more["turns"] > found["turns"]


@pytest.mark.parametrize("workload", [MIX, "made"])
@pytest.mark.parametrize("rate_per_s", [0.0, -1.0, float("nan")])
def test_a_rate_that_is_not_positive_is_an_error_before_a_cell_runs(
    cell: Cell, traces: Path, monkeypatch: pytest.MonkeyPatch, workload: str, rate_per_s: float
) -> None:
    assert traces.is_dir()
    monkeypatch.setattr(cells, "sampled_run", lambda *_: pytest.fail("the run has begun"))
    with pytest.raises(WorkloadError, match="positive") as error:
        run_cell(dataclasses.replace(cell, workload=workload, rate_per_s=rate_per_s))
    assert "\n" not in str(error.value)
