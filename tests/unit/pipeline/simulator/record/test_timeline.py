"""Made-up recordings as trace events and as rows."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from augserve.data.tables.files import read_table
from augserve.data.tables.schema import StepRow
from augserve.data.workload.model import ToolCall
from augserve.pipeline.simulator.errors import SimulationError
from augserve.pipeline.simulator.observers.recording import Recording, SeenTurn
from augserve.pipeline.simulator.record.records import TurnRecord
from augserve.pipeline.simulator.record.timeline import PolicyRun, events, write_timeline
from augserve.pipeline.simulator.record.traces import UNKNOWN_TOOL, records, write_traces

END_S = 20.0
MATH = ToolCall("math", 2.0, 30)


def turn(
    session: str,
    number: int,
    times: tuple[float, float | None, float | None, float | None],
    call: ToolCall | None = None,
    cached: int = 0,
) -> SeenTurn:
    """`times`: arrival, first scheduled, first token, finish."""
    arrival_s, scheduled_s, first_token_s, finish_s = times
    output = 0 if first_token_s is None else 17
    record = TurnRecord(
        session, "math", number, call is None, arrival_s, 100 + 147 * number, first_token_s, finish_s, output, cached
    )
    return SeenTurn(
        record,
        f"{session}/{number}",
        1024,
        1,
        () if call is None else (call,),
        [0] * 32,
        scheduled_s,
        None if finish_s is None else "stop",
    )


@pytest.fixture
def recording() -> Recording:
    found = Recording(
        [
            turn("a", 0, (0.0, 0.5, 1.0, 2.0), MATH),
            turn("b~1", 0, (1.0, 1.0, 1.5, 3.0), ToolCall("", 30.0, 5)),  # returns after the end
            turn("a", 1, (4.0, 4.0, 4.25, 5.0), MATH, cached=112),
            turn("c", 0, (6.0, 7.0, None, None)),  # its prompt is not through
            turn("a", 2, (7.0, 8.0, 9.0, 10.0), cached=16),
            turn("d", 0, (8.0, None, None, None)),  # never scheduled
        ]
    )
    for at in range(3):
        found.add_step(StepRow(at, float(at), 100, 2, 300, 0.25 * at, 1, 2, 2048, 0.0, 0.5))
    return found


def slices(recording: Recording, session: str) -> list[tuple[str, int, int]]:
    found = list(events(PolicyRun("vllm", recording, END_S, 16), 1))
    (tid,) = (e["tid"] for e in found if e["name"] == "thread_name" and e["args"]["name"] == session)  # type: ignore[index]
    return [(e["name"], e["ts"], e["dur"]) for e in found if e["ph"] == "X" and e["tid"] == tid]  # type: ignore[misc]


def test_a_session_is_split_into_waiting_prefill_decode_and_tool(recording: Recording) -> None:
    assert slices(recording, "a") == [
        ("waiting", 0, 500_000),
        ("prefill", 500_000, 500_000),
        ("decode", 1_000_000, 1_000_000),
        ("retained", 2_000_000, 2_000_000),  # 116 tokens were computed, 112 of them in whole blocks
        ("waiting", 4_000_000, 0),
        ("prefill", 4_000_000, 250_000),
        ("decode", 4_250_000, 750_000),
        ("tool", 5_000_000, 2_000_000),  # the next turn found but one block
        ("waiting", 7_000_000, 1_000_000),
        ("prefill", 8_000_000, 1_000_000),
        ("decode", 9_000_000, 1_000_000),
    ]


def test_open_slices_end_with_the_run(recording: Recording) -> None:
    assert slices(recording, "b~1")[-1] == ("tool", 3_000_000, 17_000_000)
    assert slices(recording, "c") == [("waiting", 6_000_000, 1_000_000), ("prefill", 7_000_000, 13_000_000)]
    assert slices(recording, "d") == [("waiting", 8_000_000, 12_000_000)]


def test_a_counter_event_marks_each_change(recording: Recording) -> None:
    found = [e for e in events(PolicyRun("vllm", recording, END_S, 16), 1) if e["ph"] == "C"]
    assert [(e["ts"], e["args"]) for e in found if e["name"] == "KV usage %"] == [
        (0, {"KV usage %": 0.0}),
        (1_000_000, {"KV usage %": 25.0}),
        (2_000_000, {"KV usage %": 50.0}),
    ]
    assert [e["ts"] for e in found if e["name"] == "token budget"] == [0]


def test_the_file_is_a_trace_of_the_event_format(recording: Recording, tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    write_timeline(path, [PolicyRun("vllm", recording, END_S, 16), PolicyRun("augserve", recording, END_S, 16)])
    check_trace(json.loads(path.read_text()), processes={"vllm", "augserve"})


def check_trace(document: dict[str, Any], processes: set[str]) -> None:
    tracks: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for event in document["traceEvents"]:
        assert event["ph"] in ("M", "X", "C")
        assert all(isinstance(event[key], int) and event[key] >= 0 for key in ("ts", "pid", "tid"))
        if event["ph"] == "X":
            assert isinstance(event["dur"], int)
            assert event["dur"] >= 0
            tracks.setdefault((event["pid"], event["tid"]), []).append(event)
    for track in tracks.values():
        for one, other in itertools.pairwise(sorted(track, key=lambda event: event["ts"] + event["dur"])):
            assert one["ts"] + one["dur"] <= other["ts"]
    named = {event["args"]["name"] for event in document["traceEvents"] if event["name"] == "process_name"}
    assert named == processes


def test_an_unwritable_timeline_is_an_error(recording: Recording, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SimulationError, match="cannot be written"):
        write_timeline(tmp_path / "file" / "trace.json", [PolicyRun("vllm", recording, END_S, 16)])


def test_every_turn_is_one_row_and_every_finished_call_too(recording: Recording) -> None:
    found = list(records(recording, "vllm", "small", "modelled"))
    turns = [row for name, row in found if name == "turns"]
    assert [row["request_id"] for row in turns] == ["a/0", "b~1/0", "a/1", "c/0", "a/2", "d/0"]
    assert [row["finish_reason"] for row in turns] == ["stop", "stop", "stop", None, "stop", None]
    assert [row["cached_tokens"] for row in turns] == [0, 0, 112, None, 16, None]
    calls = [row for name, row in found if name == "tool_calls"]
    assert [(row["session_id"], row["tool"], row["start_s"]) for row in calls] == [
        ("a", "math", 2.0),
        ("b~1", UNKNOWN_TOOL, 3.0),
        ("a", "math", 5.0),
    ]


def test_copies_of_a_recorded_session_stay_on_one_side_of_a_split() -> None:
    found = Recording([turn(name, 0, (0.0, 0.0, 1.0, 2.0)) for name in ("set:x", "set:x~2")])
    assert {row["split_group"] for _, row in records(found, "vllm", "small", "pause")} == {"set:x"}


def test_the_tables_are_written_in_the_schema(recording: Recording, tmp_path: Path) -> None:
    write_traces(recording, tmp_path / "out", "vllm", "small", "modelled")
    assert len(read_table(tmp_path / "out", "turns")) == 6
    assert set(read_table(tmp_path / "out", "turns")["source"].to_pylist()) == {"simulated"}
    assert read_table(tmp_path / "out", "steps")["kv_usage"].to_pylist() == [0.0, 0.25, 0.5]
    assert len(read_table(tmp_path / "out", "tool_calls")) == 3
