"""Linking of sessions whose client does not name them, on vLLM's real scheduler."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from vllm.sampling_params import SamplingParams
from vllm.v1.request import Request, RequestStatus

from augserve.data.tables.pseudonyms import KEY_FILE, Pseudonyms
from augserve.pipeline.simulator.engine import block_hasher
from augserve.runtime.guard import STRIKES
from augserve.runtime.scheduler import AugServeScheduler
from augserve.runtime.sessions.linking import Link
from augserve.runtime.sessions.live_turn import LiveTurn
from augserve.runtime.sessions.table import SessionTable
from augserve.runtime.turn_lifecycle import LINKING_DEADLINE_S, MAX_REMEMBERED
from benchmarks.conversations import SentTurn, read_block_sessions, read_text_sessions
from benchmarks.interleaved import run_sessions

from ..conftest import Engine, EngineMaker

SHARED = Path(__file__).parents[5] / "shared" / "data"
END = 2
SYSTEM = list(range(500, 620))


def send(engine: Engine, name: str, prompt: list[int], **hints: object) -> LiveTurn:
    """Send a request without a session id; the engine answers with 20 tokens 7."""
    params = SamplingParams(max_tokens=20, ignore_eos=True, extra_args=dict(hints) or None)
    request = Request(name, prompt, params, None, arrival_time=engine.clock.now_s, block_hasher=block_hasher())
    engine.scheduler.add_request(request)
    assert isinstance(engine.scheduler, AugServeScheduler)
    return engine.scheduler.lifecycle.turns[name]


def test_the_next_turn_is_linked_and_ends_the_pause(make_engine: EngineMaker, tmp_path: Path) -> None:
    engine = make_engine(mode="observe", traces=True)
    first = [*SYSTEM, 11, 12]
    assert send(engine, "a", first).session_id == "a"
    engine.drain()
    engine.clock.now_s += 4.0
    calls = {"augserve_last_tool": ["read", "sql"], "augserve_result_bytes": [30, 10], "augserve_tenant": "t"}
    other = send(engine, "b", [*SYSTEM, 13, *[7] * 20, 14])
    again = send(engine, "c", [*first, *[7] * 20, *range(800, 840)])
    assert (other.session_id, other.turn, again.session_id, again.turn) == ("b", 0, "a", 1)
    engine.drain()
    named = send(engine, "d", [*first, *[7] * 20, *range(800, 840), *[7] * 20, 9], **calls)
    assert named.turn == 0  # of a tenant, while the turns before had none
    engine.drain()
    engine.clock.now_s += 2.0
    send(engine, "e", [*first, *[7] * 20, *range(800, 840), *[7] * 20, 9, *[7] * 20, 9, *range(40)], **calls)
    engine.drain()
    engine.scheduler.shutdown()
    rows = [row for path in tmp_path.rglob("tool_calls*.parquet") for row in pq.read_table(path).to_pylist()]
    rows.sort(key=lambda row: row["call"])
    calls = [(row["session_id"], row["turn"], row["call"], row["tool"], row["result_tokens"]) for row in rows]
    name = Pseudonyms.kept_in(next(tmp_path.rglob(KEY_FILE)).parent).of(named.session_id)
    assert calls == [(name, 0, 0, "read", 31), (name, 0, 1, "sql", 10)]
    assert all(2.0 <= row["duration_s"] < 2.2 for row in rows)


def test_an_aborted_turn_may_be_retried(make_engine: EngineMaker) -> None:
    engine = make_engine(mode="observe")
    first = [*SYSTEM, 11]
    send(engine, "a", first)
    engine.drain()
    again = [*first, *[7] * 20, 12]
    assert send(engine, "b", again).session_id == "a"
    engine.step()
    engine.scheduler.finish_requests("b", RequestStatus.FINISHED_ABORTED)
    assert send(engine, "c", again).session_id == "a"
    assert send(engine, "d", again).session_id == "d"
    engine.drain()
    engine.assert_nothing_is_left()


def test_a_session_named_by_its_caller_is_not_linked(make_engine: EngineMaker) -> None:
    engine = make_engine(mode="observe")
    engine.add(1, 200, 10, session="mine")
    engine.drain()
    assert isinstance(engine.scheduler, AugServeScheduler)
    assert len(engine.scheduler.lifecycle.sessions.linker) == 0


@pytest.mark.parametrize("part", ["link", "turn_ended"])
def test_if_linking_fails_every_turn_gets_its_own_session_and_the_fault_is_counted(
    make_engine: EngineMaker, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(SessionTable, part, broken)
    engine = make_engine(mode="observe")
    assert send(engine, "a", SYSTEM).session_id == "a"
    engine.drain()
    assert send(engine, "b", [*SYSTEM, *[7] * 20, 9]).session_id == "b"
    engine.drain()
    assert isinstance(engine.scheduler, AugServeScheduler)
    assert engine.scheduler.engine.metrics.value("fallbacks", reason="linking") == 2
    engine.assert_nothing_is_left()


def test_linking_that_is_too_slow_is_suspended(make_engine: EngineMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine(mode="observe")
    asked: list[None] = []
    link = SessionTable.link

    def slow(*arguments: Any) -> Link | None:
        asked.append(None)
        found = link(*arguments)
        engine.clock.now_s += 2 * LINKING_DEADLINE_S
        return found

    monkeypatch.setattr(SessionTable, "link", slow)
    send(engine, "first", SYSTEM)
    engine.drain()
    assert send(engine, "second", [*SYSTEM, *[7] * 20, 9]).session_id == "first"  # late, and used all the same
    for number in range(STRIKES + 2):
        send(engine, f"r{number}", SYSTEM)
    assert len(asked) < 2 * STRIKES
    engine.drain()
    engine.assert_nothing_is_left()


def test_of_many_turns_that_end_at_once_a_step_remembers_some_and_none_is_forgotten(make_engine: EngineMaker) -> None:
    engine = make_engine(mode="observe", kv_tokens=65_536, max_num_seqs=256)
    assert isinstance(engine.scheduler, AugServeScheduler)
    sessions = engine.scheduler.lifecycle.sessions
    count = 2 * MAX_REMEMBERED
    for number in range(count):
        send(engine, f"r{number}", [*range(200 + number, 240 + number)])
    before = 0
    while engine.scheduler.has_unfinished_requests():
        engine.step()
        assert len(sessions.linker) - before <= MAX_REMEMBERED
        before = len(sessions.linker)
    assert send(engine, "next", [*range(200, 240), *[7] * 20, 9]).session_id == "r0"
    assert len(sessions.linker) == count
    engine.drain()
    engine.assert_nothing_is_left()


def conversation(number: int, turns: int = 4) -> Iterator[SentTurn]:
    """All share the system prompt; two at a time begin with the same words."""
    prompt = [*SYSTEM, *range(1000 + number // 2, 1012 + number // 2)]
    for turn in range(turns):
        output = [*(2000 + number * 97 + turn * 31 + each for each in range(25)), END]
        yield SentTurn(list(prompt), output, {}, extends=True)
        prompt += [*output, *range(5000, 5000 + 7 * (number % 5))]


@pytest.mark.parametrize("caching", [True, False])
def test_interleaved_sessions_are_distinguished(caching: bool) -> None:
    figures = run_sessions([conversation(number) for number in range(12)], END, seed=1, caching=caching).figures()
    assert figures == {
        "turns": 36,
        "right_percent": 100.0,
        "new_session": 0,
        "wrong": 0,
        "new_session_past_changed": 0,
    }


@pytest.mark.skipif(not SHARED.is_dir(), reason="the public traces are not on this machine")
def test_real_sessions_of_block_hashes_are_linked() -> None:
    archive = SHARED / "kv-cache-sessions" / "sessions.tar.xz"
    sessions = [turns[:6] for turns in read_block_sessions(archive, 8, 20_000)]
    figures = run_sessions(sessions, -1, seed=1).figures()
    assert figures["turns"] > 20
    assert (figures["right_percent"], figures["wrong"]) == (100.0, 0)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the public traces are not on this machine")
def test_real_sessions_of_text_are_read_as_messages() -> None:
    messages = next(read_text_sessions(SHARED / "claude-code-swe" / "sessions.tar.xz", 1))
    assert [message["role"] for message in messages[:3]] == ["user", "assistant", "tool"]
    calls = {call["id"] for message in messages for call in message.get("tool_calls", ())}
    assert {message["tool_call_id"] for message in messages if message["role"] == "tool"} <= calls
