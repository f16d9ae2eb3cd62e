import math

from augserve.runtime import sessions
from augserve.runtime.sessions import Pause, SessionTable


def test_a_pause_lasts_from_a_finish_to_the_next_arrival() -> None:
    table = SessionTable()
    table.turn_arrived("a", 10.0, None)
    table.turn_finished("a", 11.0, 100, 20)
    session, turn, pause = table.turn_arrived("a", 14.0, "sql")
    assert (turn, pause) == (1, Pause(turn=0, start_s=11.0, duration_s=3.0, context_tokens=120))
    assert (session.history.last_tool, session.history.tool_duration_s.last) == ("sql", 3.0)
    assert math.isclose(table.tools.log_duration_s("sql"), math.log(3.0))


def test_a_turn_that_arrives_before_the_last_has_finished_ends_no_pause() -> None:
    table = SessionTable()
    table.turn_arrived("a", 10.0, None)
    _, turn, pause = table.turn_arrived("a", 11.0, "sql")
    assert (turn, pause) == (1, None)


def test_a_session_too_old_is_forgotten() -> None:
    table = SessionTable(ttl_s=60)
    table.turn_arrived("a", 0.0, None)
    table.turn_arrived("b", 61.0, None)
    assert "a" not in table
    table.turn_finished("a", 62.0, 1, 1)
    assert "a" not in table


def test_the_session_seen_longest_ago_makes_room() -> None:
    table = SessionTable(max_sessions=2)
    for session in "abac":
        table.turn_arrived(session, 0.0, None)
    assert len(table) == 2
    assert "b" not in table


def test_tool_names_are_bounded() -> None:
    table = SessionTable()
    for number in range(sessions.MAX_TOOLS + 1):
        table.turn_arrived("a", 2.0 * number, f"tool-{number}")
        table.turn_finished("a", 2.0 * number + 1, 1, 1)
    table.turn_arrived("a", 1e5, "one more")
    assert math.isnan(table.tools.log_duration_s("one more"))
