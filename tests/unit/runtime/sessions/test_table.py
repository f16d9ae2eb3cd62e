import gc
import math
import tracemalloc
from dataclasses import asdict
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from augserve.features.running import MAX_NAMES
from augserve.features.session_history import ReturnedCall
from augserve.runtime.sessions.linking import Link
from augserve.runtime.sessions.past import past_of
from augserve.runtime.sessions.prefix import Prefix
from augserve.runtime.sessions.session import Session
from augserve.runtime.sessions.table import UNPACKED, Pause, SessionTable


def test_a_pause_lasts_from_a_finish_to_the_next_arrival() -> None:
    table = SessionTable()
    table.turn_arrived("a", 10.0)
    table.turn_finished("a", 11.0, 100, 20)
    session, turn, pause = table.turn_arrived("a", 14.0, [ReturnedCall("sql")])
    assert (turn, pause) == (1, Pause(turn=0, start_s=11.0, duration_s=3.0, context_tokens=120))
    assert (session.history.last_tool, session.history.pause_s.last) == ("sql", 3.0)
    assert math.isclose(table.shared.tool_s.of("sql").mean, math.log(3.0))


def test_a_turn_that_arrives_before_the_last_has_finished_ends_no_pause() -> None:
    table = SessionTable()
    table.turn_arrived("a", 10.0)
    _, turn, pause = table.turn_arrived("a", 11.0, [ReturnedCall("sql")])
    assert (turn, pause) == (1, None)


def test_a_session_that_is_too_old_is_dropped() -> None:
    table = SessionTable(ttl_s=60)
    table.turn_arrived("a", 0.0)
    table.turn_arrived("b", 61.0)
    assert "a" not in table
    table.turn_finished("a", 62.0, 1, 1)
    assert "a" not in table


def test_the_least_recently_seen_session_is_dropped_first() -> None:
    table = SessionTable(max_sessions=2)
    for session in "abac":
        table.turn_arrived(session, 0.0)
    assert len(table) == 2
    assert "b" not in table


def test_tool_names_are_bounded() -> None:
    table = SessionTable()
    for number in range(MAX_NAMES + 2):
        table.turn_arrived("a", 2.0 * number, [ReturnedCall(f"tool-{number}")])
        table.turn_finished("a", 2.0 * number + 1, 1, 1)
    assert len(table.shared.tool_s) == MAX_NAMES


def test_a_dropped_session_is_counted_and_no_longer_linked() -> None:
    closed: list[None] = []
    table = SessionTable(ttl_s=60, closed=lambda: closed.append(None))
    tokens = list(range(50))
    table.turn_arrived("a", 0.0)
    table.turn_finished("a", 1.0, 40, 10)
    table.turn_ended("a", past_of(Prefix(tokens, [], 64, 50), 40, None, None, stopped=True), finished=True)
    after = Prefix([*tokens, 9], [], 64, 51)
    assert table.link(after, (), None, 62.0) is None
    assert len(closed) == 1
    assert len(table.linker) == 0
    table.turn_ended("a", past_of(after, 40, None, None, stopped=True), finished=True)
    assert len(table.linker) == 0


def test_a_session_is_linked_within_its_timeout() -> None:
    table = SessionTable(ttl_s=60)
    tokens = list(range(50))
    table.turn_arrived("a", 0.0)
    table.turn_ended("a", past_of(Prefix(tokens, [], 64, 50), 40, None, None, stopped=True), finished=True)
    assert table.link(Prefix([*tokens, 9], [], 64, 51), (), None, 50.0) == Link("a", "prefix")


def test_the_pause_of_parallel_calls_is_not_counted_as_a_tools_time() -> None:
    table = SessionTable()
    table.turn_arrived("a", 0.0)
    table.turn_finished("a", 1.0, 40, 10)
    session, _, pause = table.turn_arrived("a", 4.0, [ReturnedCall("read"), ReturnedCall("sql")])
    assert pause is not None
    assert session.history.pause_s.last == 3.0
    assert len(session.history.tools) == 2
    assert math.isnan(table.shared.tool_s.of("read").mean)


def returned(number: int) -> tuple[ReturnedCall, ...]:
    """Calls of as many made-up tools as a turn may name, with names as long as they may be."""
    return tuple(
        ReturnedCall(f"{number}-{call}".ljust(256, "z"), 0.1, 10, f"{call}".ljust(256, "y")) for call in range(32)
    )


def visit(table: SessionTable, session: str, at_s: float, turns: int = 1, calls: bool = False) -> None:
    for turn in range(turns):
        table.turn_arrived(session, at_s + turn, returned(turn) if calls and turn else ())
        table.turn_finished(session, at_s + turn + 0.5, 100, 5)


def test_the_bytes_of_sessions_are_bounded_whatever_their_callers_name() -> None:
    tracemalloc.start()
    table = SessionTable(max_bytes=1 << 20)
    for number in range(300):
        visit(table, f"s{number}", number, turns=9, calls=True)
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert 20 < len(table) < 100
    assert "s299" in table
    assert "s0" not in table
    shared = 8 * MAX_NAMES * 1024
    assert taken < shared + (1 << 20) + 2 * UNPACKED * 65_536


def test_sessions_give_the_garbage_collector_nothing_to_visit() -> None:
    def tracked() -> int:
        gc.collect()
        return len(gc.get_objects())

    table = SessionTable()
    before = tracked()
    for number in range(2000):
        visit(table, f"s{number}", number, turns=2)
    assert tracked() - before < 1000
    assert len(table) == 2000


@given(st.integers(1, 4), st.booleans(), st.integers(0, 3 * UNPACKED))
def test_a_session_is_the_same_after_others_were_seen(turns: int, calls: bool, others: int) -> None:
    table, alone = SessionTable(), SessionTable()
    for each in (table, alone):
        visit(each, "s", 0.0, turns, calls)
    for number in range(others):
        visit(table, f"other-{number}", 0.0)
    (session, turn, pause), expected = table.turn_arrived("s", 9.0), alone.turn_arrived("s", 9.0)
    assert (turn, pause) == expected[1:]
    assert repr(facts(session)) == repr(facts(expected[0]))  # NaN is not equal to itself


def facts(session: Session) -> dict[str, Any]:
    found = asdict(session)
    found["history"]["tools"] = sorted(found["history"]["tools"])
    return found
