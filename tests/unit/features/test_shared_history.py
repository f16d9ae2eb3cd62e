import math

import pytest

from augserve.features.running import UNSEEN, RecentLog
from augserve.features.session_history import ReturnedCall, SessionHistory
from augserve.features.shared_history import SharedHistory, fall_back, tool_family


def log_of(*values: float) -> RecentLog:
    series = RecentLog()
    for value in values:
        series.add(value)
    return series


@pytest.mark.parametrize(
    ("tool", "family"),
    [
        ("mcp__github__create_issue", "github"),
        ("github__create_issue", "github"),
        ("browser.click", "browser"),
        ("fs/read", "fs"),
        ("Bash", None),
        ("mcp__", None),
        ("__init__", None),
        ("", None),
    ],
)
def test_the_family_is_read_from_the_name_of_the_tool(tool: str, family: str | None) -> None:
    assert tool_family(tool) == family


def test_a_call_updates_every_level_of_the_hierarchy() -> None:
    shared = SharedHistory()
    shared.calls_returned([ReturnedCall("mcp__fs__read", None, 9, "cat")], 2.0)
    shared.calls_returned([ReturnedCall("mcp__fs__write", 4.0)], 9.0)
    assert math.isclose(shared.family_s.of("fs").mean, (math.log(2) + math.log(4)) / 2)
    assert math.isclose(shared.tool_s.of("mcp__fs__write").mean, math.log(4))
    assert shared.call_s.of(("mcp__fs__read", "cat")).count == 1
    assert shared.all_s.count == 2


def test_untimed_parallel_calls_update_no_duration() -> None:
    shared = SharedHistory()
    shared.calls_returned([ReturnedCall("a"), ReturnedCall("b")], 2.0)
    shared.calls_returned([], 2.0)
    assert shared.all_s.count == 0


def test_an_output_updates_its_tenant_and_the_tools_before_it() -> None:
    shared, session = SharedHistory(), SessionHistory(tenant="acme")
    session.calls_returned([ReturnedCall("bash", None, 9, "git")], 1.0)
    shared.turn_finished(session, 100)
    for series in (
        shared.all_output,
        shared.tenant_output.of("acme"),
        shared.after_tool_output.of("bash"),
        shared.after_call_output.of(("bash", "git")),
    ):
        assert math.isclose(series.mean, math.log(100))
    assert shared.tenant_output.of("other") is UNSEEN


def test_the_general_level_is_used_while_special_ones_are_empty() -> None:
    mean, spread, high = fall_back(log_of(1.0, math.e), UNSEEN, UNSEEN)
    assert math.isclose(mean, 0.5)
    assert math.isclose(high, 1.0)
    assert math.isfinite(spread)
    assert all(math.isnan(value) for value in fall_back(UNSEEN, UNSEEN))


def test_the_general_level_weighs_less_the_more_values_the_special_one_has() -> None:
    general, few, many = log_of(*[1.0] * 50), log_of(math.e**4), log_of(*[math.e**4] * 60)
    assert 0 < fall_back(general, few)[0] < 2 < 3.5 < fall_back(general, many)[0] < 4


def test_a_pause_is_attributed_to_the_tool_before_it() -> None:
    shared, session = SharedHistory(), SessionHistory()
    shared.paused(session, 2.0)
    session.calls_returned([ReturnedCall("bash")], 2.0)
    shared.paused(session, 8.0)
    assert math.isclose(shared.pause_s.of(None).mean, math.log(2))
    assert math.isclose(shared.pause_s.of("bash").mean, math.log(8))
    assert shared.all_pause_s.count == 2


def test_long_sessions_raise_the_mean_turn_number() -> None:
    long, short = SharedHistory(), SharedHistory()
    session = SessionHistory()
    for _ in range(30):
        session.turn_finished(10, 5)
        long.turn_finished(session, 5)
        once = SessionHistory()
        once.turn_finished(10, 5)
        short.turn_finished(once, 5)
    assert short.all_turns.mean == 0 < 2 < long.all_turns.mean
