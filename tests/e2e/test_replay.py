"""`augserve replay` against a real server that records: client and recorder have to tell the same."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from augserve.data.tables.files import TraceError, read_table, rows_to_table, write_table
from augserve.data.tables.pseudonyms import Pseudonyms
from augserve.pipeline.cli.__main__ import main
from augserve.pipeline.server.process import Server, hook_arguments, vllm_server
from augserve.runtime.recording.rows import session_name

from .faults import ONE_THREAD, kill_api_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SPAN_S = 31.0
SESSIONS = 14
CLOCK_S = 0.002  # between two readings of one host's clocks
NEAR_S = 0.5  # at the median, also on a busy machine
ORDERED = (
    ("arrival", ("client", "sent_s"), ("recorder", "arrival_s")),
    ("first token", ("recorder", "first_token_s"), ("client", "first_token_s")),
    ("finish", ("recorder", "finish_s"), ("client", "finish_s")),
)
TOLERANCE_S = 0.05  # at the median
RECORDER_S = 60.0  # the recorder writes its open buffer within this
LOST_S = 2.5


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sessions of one to four turns that begin over half a minute, as if they had been recorded."""
    folder = tmp_path_factory.mktemp("workload")
    random = np.random.default_rng(5)
    turns: list[dict[str, object]] = []
    calls: list[dict[str, object]] = []
    starts = np.sort(random.uniform(0, SPAN_S, SESSIONS))
    starts[[0, -1]] = 0.0, SPAN_S
    for number, start_s in enumerate(starts.tolist()):
        name, at_s, context = f"s{number}", 1_000.0 + start_s, 0
        count = 1 + number % 4
        for turn in range(count):
            prompt, output = context + int(random.integers(20, 200)), int(random.integers(1, 24))
            finish_s, pause_s = at_s + 0.02 * output, float(random.uniform(0.05, 1.5))
            turns.append(turn_row(name, turn, at_s, finish_s, prompt, output))
            if turn + 1 < count:
                calls.append(call_row(name, turn, finish_s, pause_s))
            context, at_s = prompt + output, finish_s + pause_s
    write_table(folder / "turns.parquet", "turns", rows_to_table("turns", turns))
    write_table(folder / "tool_calls.parquet", "tool_calls", rows_to_table("tool_calls", calls))
    return folder


def turn_row(session: str, turn: int, at_s: float, finish_s: float, prompt: int, output: int) -> dict[str, object]:
    return {
        "source": "made",
        "session_id": session,
        "turn": turn,
        "arrival_s": at_s,
        "finish_s": finish_s,
        "prompt_tokens": prompt,
        "output_tokens": output,
    }


def call_row(session: str, turn: int, start_s: float, duration_s: float) -> dict[str, object]:
    return {
        "source": "made",
        "session_id": session,
        "turn": turn,
        "call": 0,
        "tool": ("search", "python")[turn % 2],
        "start_s": start_s,
        "duration_s": duration_s,
        "timing": "call",
    }


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recorded")


@pytest.fixture(scope="module")
def recording_server(model_folder: Path, recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("server") / "server.log"
    hook = hook_arguments({"mode": "observe", "traces": str(recorded)})
    with vllm_server(model_folder, log=log, extra_args=hook, environment=ONE_THREAD) as running:
        yield running


@pytest.fixture(scope="module")
def report(recording_server: Server, traces: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    out = tmp_path_factory.mktemp("report") / "replay.json"
    main(["replay", str(traces), "--url", recording_server.url, "--session-ids", "--hints", "--out", str(out)])
    return json.loads(out.read_text())


def by_turn(rows: list[dict]) -> dict[tuple[str, int], dict]:
    return {(row["session_id"], row["turn"]): row for row in rows}


@pytest.fixture(scope="module")
def recorder_rows(report: dict, recorded: Path, recording_server: Server) -> dict[tuple[str, int], dict]:
    """The recorder's turns, as soon as it has written as many as the client saw."""
    deadline_s = time.monotonic() + RECORDER_S
    rows: list[dict] = []
    names = Pseudonyms.kept_in(recorded)
    ids = {session_name(turn["session_id"], names): turn["session_id"] for turn in report["turns"]}
    while len(rows) < len(report["turns"]) and time.monotonic() < deadline_s:
        recording_server.check_alive()
        time.sleep(0.5)
        try:
            rows = read_table(recorded, "turns").to_pylist()
        except TraceError:  # nothing is written yet
            continue
    assert len(rows) == len(by_turn(rows))
    return by_turn([{**row, "session_id": ids.get(row["session_id"])} for row in rows])


def test_a_replay_of_half_a_minute_sends_every_recorded_turn_once(report: dict, traces: Path) -> None:
    asked = read_table(traces, "turns").to_pylist()
    assert report["failures"] == {}
    assert report["window_s"][1] >= 30
    assert {(f"made:{row['session_id']}", row["turn"]) for row in asked} == set(by_turn(report["turns"]))
    assert len(report["turns"]) == len(asked)
    for row in asked:
        seen = by_turn(report["turns"])[f"made:{row['session_id']}", row["turn"]]
        assert (seen["prompt_tokens"], seen["output_tokens"]) == (row["prompt_tokens"], row["output_tokens"])


def test_the_recorded_arrivals_are_reproduced(report: dict, traces: Path) -> None:
    asked = {row["session_id"]: row["arrival_s"] for row in read_table(traces, "turns").to_pylist() if not row["turn"]}
    first_s = min(asked.values())
    late_s = [
        turn["sent_s"] - (asked[turn["session_id"].removeprefix("made:")] - first_s)
        for turn in report["turns"]
        if not turn["turn"]
    ]
    assert min(late_s) >= -1e-6
    assert np.median(late_s) < TOLERANCE_S


def test_recorder_and_client_count_the_same_turns_and_tokens(report: dict, recorder_rows: dict) -> None:
    seen = by_turn(report["turns"])
    assert set(recorder_rows) == set(seen)
    for key, row in recorder_rows.items():
        assert (row["prompt_tokens"], row["output_tokens"]) == (seen[key]["prompt_tokens"], seen[key]["output_tokens"])


def test_the_recorder_s_times_lie_between_those_of_the_client(report: dict, recorder_rows: dict) -> None:
    """Sent, arrived, computed, received: in this order on any machine, and near each other."""
    seen, started_at_s = by_turn(report["turns"]), report["started_at_s"]
    for name, earlier, later in ORDERED:
        apart_s = []
        for key, row in recorder_rows.items():
            times = {"client": seen[key], "recorder": row}
            first_s, then_s = (
                times[who][which] + (started_at_s if who == "client" else 0.0) for who, which in (earlier, later)
            )
            apart_s.append(then_s - first_s)
        assert min(apart_s) >= -CLOCK_S, name
        assert np.median(apart_s) < NEAR_S, name


def test_the_server_s_own_counters_are_reported(report: dict) -> None:
    assert report["metrics"]["prefix_hit_rate"] > 0  # the next prompt really extends the last one
    assert report["metrics"]["preemptions"] == 0


def test_an_api_server_killed_under_load_loses_the_last_rows_alone(recording_server: Server, recorded: Path) -> None:
    killed_s = kill_api_server(recording_server, clients=4, after_s=2 * LOST_S)
    time.sleep(2 * LOST_S)  # the engine notices it by itself, or goes on
    rows = read_table(recorded, "turns").to_pylist()  # reads, and checks, every file
    assert killed_s - max(row["finish_s"] for row in rows) < LOST_S
