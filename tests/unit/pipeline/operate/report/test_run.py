"""The whole report on a few recorded sessions, and on a server's counters."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from augserve.data.tables.files import rows_to_table, write_table
from augserve.data.tables.sessions import read_sessions
from augserve.models.serving.settings import StepTime
from augserve.pipeline.cli.__main__ import main
from augserve.pipeline.operate.report import outcome as outcome_module
from augserve.pipeline.operate.report.outcome import Outcome, SeenTurn, computed_again, computed_again_s, waits_by_size
from augserve.pipeline.operate.report.server import report_of_server
from augserve.pipeline.operate.running_server import Scrape

from ...step_times.recording import FLAT, record

SESSIONS = 12
WITHOUT_VLLM = """
import sys
from augserve.pipeline.cli.__main__ import main
sys.modules["vllm"] = None
main(["report", sys.argv[1]])
"""


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    """Sessions of two turns, whose contexts are lost in between; the engine's steps; its profile."""
    folder = tmp_path / "traces"
    record(folder, FLAT, 1.0)
    turns = []
    for number in range(SESSIONS):
        for turn, prompt in enumerate((400, 900)):
            arrival_s = 1_000.0 + number + 3 * turn
            times = {"arrival_s": arrival_s, "first_token_s": arrival_s + 0.2, "finish_s": arrival_s + 1.0}
            sizes = {"prompt_tokens": prompt, "cached_tokens": 0, "output_tokens": 20, "finish_reason": "stop"}
            turns.append({"source": "made", "session_id": f"s{number}", "turn": turn, **times, **sizes})
    write_table(folder / "turns.parquet", "turns", rows_to_table("turns", turns))
    FLAT.save(tmp_path / "flat.json")
    return folder


@pytest.mark.parametrize("loop", [[], ["--agents", "3"]])
def test_the_report_has_what_was_recorded_and_both_policies(
    traces: Path, finished: Path, loop: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = traces.parent / "report.html"
    profile, bundle = ["--profile", str(traces.parent / "flat.json")], ["--bundle", str(finished / "models/bundle")]
    main(["report", str(traces), *profile, *bundle, *loop, "--out", str(out)])
    report = capsys.readouterr().out
    assert f"{2 * SESSIONS} turns of {SESSIONS} sessions" in report
    assert f"{SESSIONS * 420:,} of {SESSIONS * 1_300:,} computed prompt tokens" in report
    assert "| turns per minute |" in report
    assert "augserve, simulated" in report
    assert "Error on what was recorded: " in report
    assert "tuned for another engine" in report
    page = out.read_text()
    assert page.count("<table>") == 2
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.parametrize("arguments", [["/nowhere"], ["http://127.0.0.1:1"]])
def test_a_source_that_is_not_there_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["report", *arguments])
    assert capsys.readouterr().err.count("\n") == 1


def test_traces_of_nothing_and_of_another_version_end_in_one_line_before_the_simulator_is_imported(
    traces: Path, tmp_path: Path
) -> None:
    empty, other = tmp_path / "empty", tmp_path / "other"
    empty.mkdir()
    shutil.copytree(traces, other)
    table = pq.read_table(other / "turns.parquet")
    pq.write_table(table.replace_schema_metadata({"augserve.schema_version": "999"}), other / "turns.parquet")
    write_table(traces / "turns.parquet", "turns", rows_to_table("turns", []))
    for folder, cause in ((empty, "no turns"), (other, "schema version 999"), (traces, "no turn is recorded")):
        ended = subprocess.run([sys.executable, "-c", WITHOUT_VLLM, str(folder)], capture_output=True, text=True)
        assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
        assert cause in ended.stderr


def test_waits_and_rates_by_hand() -> None:
    turns = [
        SeenTurn("a", 0.0, 1.0, 2.0, 100),
        SeenTurn("a", 3.0, 3.5, 60.0, 50_000),
        SeenTurn("b", 5.0, None, None, 9),
    ]
    outcome = Outcome.of(turns)
    assert (outcome.turns, outcome.turns_per_minute, outcome.session_s) == (2, 2.0, 60.0)
    assert outcome.ttft_p50_s == 0.75
    assert [(name, count) for name, count, *_ in waits_by_size(turns)] == [("0 to 1,999", 1), ("32,000 to 127,999", 1)]


def test_a_closed_loop_is_measured_while_all_agents_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two agents and three sessions: the third begins at 100 s, and at 160 s the first agent has no next one."""
    monkeypatch.setattr(outcome_module, "LEAST_TURNS", 3)
    turns = [
        SeenTurn("a", 0.0, 1.0, 100.0, 9),
        SeenTurn("b", 0.0, 2.0, 30.0, 9),
        SeenTurn("sub-agent", 110.0, 111.0, 120.0, 9, is_agents=False),
        SeenTurn("c", 100.0, 103.0, 150.0, 9),
        SeenTurn("b", 40.0, 41.0, 160.0, 9),
        SeenTurn("c", 155.0, 156.0, 400.0, 9),
    ]
    outcome = Outcome.of(turns, agents=2)
    assert (outcome.turns, outcome.measured_s, outcome.turns_per_minute) == (5, 160.0, 60 * 5 / 160)
    assert Outcome.of(turns, agents=4).measured_s == Outcome.of(turns).measured_s == 400.0
    monkeypatch.setattr(outcome_module, "LEAST_TURNS", 9)
    assert Outcome.of(turns, agents=2).measured_s == 400.0


def test_only_the_lost_part_of_a_context_counts_as_computed_again(
    tmp_path: Path, save_traces: Callable[..., None]
) -> None:
    turns = [
        {"source": "m", "session_id": "s", "turn": turn, "arrival_s": float(turn), "prompt_tokens": prompt}
        | {"output_tokens": 10, "cached_tokens": cached}
        for turn, (prompt, cached) in enumerate(((100, 0), (150, 96), (200, 16), (50, 50)))
    ]
    save_traces(tmp_path, turns, [])
    sessions = read_sessions([tmp_path])
    assert computed_again(sessions) == (100 + 54 + 184 + 0, 14 + 144)
    attention = StepTime(base_s=0.0, per_prefill_token_s=0.0, per_pair_s=1e-3)
    # 14 tokens behind 96 cached ones, and 144 behind 16
    assert computed_again_s(sessions, attention) == pytest.approx(1e-3 * (14 * (96 + 7) + 144 * (16 + 72)))


def test_a_server_s_counters_are_told() -> None:
    report = report_of_server(
        Scrape(
            'augserve_prompt_tokens_total{part="again",engine="0"} 30.0\n'
            'augserve_prompt_tokens_total{part="new",engine="0"} 70.0\n'
            'augserve_pins_released_total{by="hit",engine="0"} 5.0\n'
            'augserve_coverage{quantity="output length",engine="0"} 0.81\n'
        )
    )
    assert "30 of 100 computed prompt tokens (30%)" in report
    assert "| hit | 5 |" in report
    assert "| output length | 81% |" in report
