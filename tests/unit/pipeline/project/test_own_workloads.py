from pathlib import Path

import pytest

from augserve.data.tables.files import rows_to_table, write_table
from augserve.pipeline.project.own_workloads import OwnWorkload, own_workloads
from augserve.pipeline.project.trace_sources import DataParams

PARAMS = DataParams(sources=("gathered", "mine"), mirror="")


def record(root: Path, name: str, sessions: int, length_s: float, apart_s: float) -> None:
    """Sessions of two turns each, which begin one after the other."""
    rows = [
        {
            "source": name,
            "session_id": f"s{number}",
            "turn": turn,
            "arrival_s": number * apart_s + turn * length_s / 2,
            "finish_s": number * apart_s + (turn + 1) * length_s / 2,
            "prompt_tokens": 9,
            "output_tokens": 3,
        }
        for number in range(sessions)
        for turn in (0, 1)
    ]
    write_table(root / "data/traces" / name / "turns.parquet", "turns", rows_to_table("turns", rows))


def test_own_recordings_run_with_as_many_agents_as_worked_at_once(tmp_path: Path) -> None:
    record(tmp_path, "mine", sessions=100, length_s=40.0, apart_s=4.0)
    record(tmp_path, "gathered", sessions=100, length_s=40.0, apart_s=4.0)
    assert own_workloads(PARAMS, tmp_path) == [OwnWorkload("mine", 9)]  # ten, less at both ends of the recording


def test_own_recordings_run_on_the_engine_that_was_fitted_to_them(tmp_path: Path) -> None:
    record(tmp_path, "mine", sessions=20, length_s=1.0, apart_s=100.0)
    fitted = tmp_path / "data/profiles/mine.json"
    fitted.parent.mkdir(parents=True)
    fitted.touch()
    assert own_workloads(PARAMS, tmp_path) == [OwnWorkload("mine", 2, "mine")]


def test_sessions_one_after_the_other_are_two_agents_at_least(tmp_path: Path) -> None:
    record(tmp_path, "mine", sessions=20, length_s=1.0, apart_s=100.0)
    assert own_workloads(PARAMS, tmp_path) == [OwnWorkload("mine", 2)]


def test_few_sessions_are_left_out_with_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    record(tmp_path, "mine", sessions=5, length_s=1.0, apart_s=1.0)
    assert own_workloads(PARAMS, tmp_path) == []
    assert len(caplog.records) == 1
    assert "mine" in caplog.text


def test_without_recordings_there_is_no_own_workload(tmp_path: Path) -> None:
    assert own_workloads(PARAMS, tmp_path) == []
