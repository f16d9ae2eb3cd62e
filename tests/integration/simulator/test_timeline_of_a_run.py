"""`--trace` of real runs: each span stands where steps calculated by hand, and the run's own tables, put it."""

import dataclasses
import json
from collections import defaultdict
from pathlib import Path

import pytest

from augserve.data.tables.files import read_table
from augserve.data.workload.model import Session, ToolCall, Turn
from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.cli import __main__ as cli
from augserve.pipeline.simulator.clock import VirtualClock
from augserve.pipeline.simulator.loop import Simulation
from augserve.pipeline.simulator.observers.recording import Recording
from augserve.pipeline.simulator.policies import PolicyInputs, build_policy
from augserve.pipeline.simulator.profile import EngineLimits, StepProfile
from augserve.pipeline.simulator.record.timeline import PolicyRun, write_timeline

BLOCK = 16
Span = tuple[str, float, float]
"""Name, start and end, seconds."""


def spans(path: Path) -> dict[str, list[Span]]:
    """By session, in order."""
    events = json.loads(path.read_text())["traceEvents"]
    names = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    found: dict[str, list[Span]] = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            found[names[event["tid"]]].append((event["name"], event["ts"] / 1e6, (event["ts"] + event["dur"]) / 1e6))
    return found


def run(profile: StepProfile, sessions: tuple[Session, ...], folder: Path) -> dict[str, list[Span]]:
    clock, recording = VirtualClock(), Recording()
    scheduler = build_policy("vllm", PolicyInputs(profile.limits, SchedulerSettings(), None, sessions, clock))
    result = Simulation(scheduler, profile, clock, sessions, recording).run()
    scheduler.shutdown()
    write_timeline(folder / "trace.json", [PolicyRun("vllm", recording, result.end_s, 16)])
    return spans(folder / "trace.json")


def check(found: list[Span], expected: list[Span]) -> None:
    assert [name for name, _, _ in found] == [name for name, _, _ in expected]
    for (_, start_s, end_s), (name, expected_start_s, expected_end_s) in zip(found, expected, strict=True):
        assert (start_s, end_s) == pytest.approx((expected_start_s, expected_end_s), abs=2e-6), name


def test_spans_match_the_steps(profile: StepProfile, tmp_path: Path) -> None:
    """An engine of one request at a time. The second waits for the first; the first calls a tool meanwhile, and finds
    its context in the cache again: 352 tokens in whole blocks of the 320 + 33 - 1 that it computed."""
    engine = dataclasses.replace(profile, limits=EngineLimits(16_384, 16_384, 1, 1024))
    first = Session("math-1-0", "math", 0.0, (Turn(320, 33, (ToolCall("math", 1.0, 20),)), Turn(20, 3)))
    second = Session("qa-1-1", "qa", 0.01, (Turn(500, 2),))
    found = run(engine, (first, second), tmp_path)

    begun = engine.step_s(320, 0, 320)
    ended = begun + sum(engine.step_s(0, 1, 320 + at) for at in range(1, 33))
    back = ended + 1.0
    again = back + engine.step_s(21, 0, 373)
    done = again + engine.step_s(0, 1, 374) + engine.step_s(0, 1, 375)
    check(
        found["math-1-0"],
        [
            ("waiting", 0.0, 0.0),
            ("prefill", 0.0, begun),
            ("decode", begun, ended),
            ("retained", ended, back),
            ("waiting", back, back),
            ("prefill", back, again),
            ("decode", again, done),
        ],
    )
    # A step of the first one's was under way when its last token came; what it yields is thrown away.
    prefilled = ended + engine.step_s(0, 1, 353) + engine.step_s(500, 0, 500)
    check(
        found["qa-1-1"],
        [
            ("waiting", 0.01, ended),
            ("prefill", ended, prefilled),
            ("decode", prefilled, prefilled + engine.step_s(0, 1, 501)),
        ],
    )


def test_a_pause_with_an_evicted_context_is_a_tool_slice(profile: StepProfile, tmp_path: Path) -> None:
    """63 blocks: the second prompt needs 57 of them, of which the first one's context held 22."""
    engine = dataclasses.replace(profile, limits=EngineLimits(1024, 1024, 1, 1024))
    first = Session("math-1-0", "math", 0.0, (Turn(320, 33, (ToolCall("math", 1.0, 20),)), Turn(20, 3)), 1, 64)
    second = Session("qa-1-1", "qa", 0.01, (Turn(900, 2),), 1, 64)
    found = run(engine, (first, second), tmp_path)
    pause = found["math-1-0"][3]
    ended = engine.step_s(320, 0, 320) + sum(engine.step_s(0, 1, 320 + at) for at in range(1, 33))
    check([pause], [("tool", ended, ended + 1.0)])


def test_the_timeline_agrees_with_the_tables_of_the_same_run(profile: StepProfile, tmp_path: Path) -> None:
    limits = dataclasses.replace(profile.limits, kv_tokens=12_288, max_model_len=12_288)  # some contexts are evicted
    dataclasses.replace(profile, limits=limits).save(tmp_path / "small.json")
    arguments = ("--profile", str(tmp_path / "small.json"), "--rate", "1", "--warmup", "0", "--window", "20", "--drain")
    out = ("1", "--out", str(tmp_path / "out"), "--trace", str(tmp_path / "trace.json"))
    cli.main(["simulate", "augmentation-mix", *arguments, *out])

    rows = read_table(tmp_path / "out", "turns").to_pylist()
    calls = {(row["session_id"], row["turn"]): row for row in read_table(tmp_path / "out", "tool_calls").to_pylist()}
    starts = {round(row["start_s"], 6) for row in read_table(tmp_path / "out", "steps").to_pylist()}
    cached = {(row["session_id"], row["turn"]): row["cached_tokens"] for row in rows}
    found = spans(tmp_path / "trace.json")
    names: list[str] = []
    for row in sorted(rows, key=lambda row: (row["session_id"], row["turn"])):
        key = row["session_id"], row["turn"]
        if row["finish_s"] is None or key not in calls:
            continue
        waiting, prefill, decode, pause = (found[row["session_id"]].pop(0) for _ in range(4))
        scheduled_s, first_s, finish_s = waiting[2], row["first_token_s"], row["finish_s"]
        assert round(scheduled_s, 6) in starts
        expected = [("waiting", row["arrival_s"], scheduled_s), ("prefill", scheduled_s, first_s)]
        check([waiting, prefill, decode], [*expected, ("decode", first_s, finish_s)])
        call, following = calls[key], (row["session_id"], row["turn"] + 1)
        assert pause[1] == pytest.approx(call["start_s"], abs=2e-6)
        if following in cached:
            assert pause[2] == pytest.approx(call["start_s"] + call["duration_s"], abs=2e-6)
            whole = (row["prompt_tokens"] + row["output_tokens"] - 1) // BLOCK * BLOCK
            kept = cached[following] is not None and cached[following] >= whole > 0
            assert pause[0] == ("retained" if kept else "tool")
            names.append(pause[0])
    assert {"retained", "tool"} <= set(names)
