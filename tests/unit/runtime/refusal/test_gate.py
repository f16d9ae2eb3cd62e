import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from augserve.runtime.refusal.gate import (
    KNOWN_S,
    LONGEST_RETRY_S,
    MAX_AT_ONCE,
    TRANSIT_S,
    Caller,
    Gate,
    Passed,
    Refused,
)
from augserve.runtime.refusal.notice import ExpectedWait, Notice

LIMIT_S = 20.0
NEW = Caller(b"new", goes_on=True)


def notice(wait_s: float, turn_s: float = 0.0, told_s: float = 0.0) -> Notice:
    return Notice(ExpectedWait(wait_s, turn_s), told_s, LIMIT_S)


def test_a_newcomer_beyond_the_limit_is_refused_until_the_engine_has_worked_off_the_rest() -> None:
    gate = Gate()
    refused = gate.arrives(NEW, notice(27.5), 0.0)
    assert refused == Refused(27.5, 8)
    assert isinstance(gate.arrives(NEW, notice(27.5), 7.0), Refused)
    assert gate.arrives(NEW, notice(27.5), 8.0) == Passed(waited_s=8.0)


def test_nobody_is_told_to_come_again_later_than_in_a_minute() -> None:
    assert Gate().arrives(NEW, notice(1e6), 0.0) == Refused(1e6, LONGEST_RETRY_S)


def test_a_client_that_comes_again_keeps_its_age_and_its_later_turns_do_not() -> None:
    gate = Gate()
    for now_s in (5.0, 30.0):
        gate.arrives(NEW, notice(50.0, told_s=now_s), now_s)
    assert gate.arrives(NEW, notice(0.0), 65.0) == Passed(60.0)
    assert gate.arrives(NEW, notice(0.0), 70.0) == Passed(0.0)


def test_the_next_turn_of_a_known_session_and_its_sub_agents_pass() -> None:
    gate, full = Gate(), notice(1e6)
    gate.arrives(NEW, notice(0.0), 0.0)
    gate.leaves(NEW, 1.0)
    assert gate.arrives(NEW, full, 30.0) == Passed(0.0)
    assert gate.arrives(Caller(b"child", True, parent=NEW.key), full, 31.0) == Passed(0.0)
    assert gate.arrives(Caller(b"child", True), full, 32.0) == Passed(0.0)
    assert isinstance(gate.arrives(Caller(b"other", True, parent=b"unknown"), full, 33.0), Refused)


def test_a_session_is_forgotten_an_hour_after_its_last_turn() -> None:
    gate, full = Gate(), notice(1e6)
    gate.arrives(NEW, notice(0.0), 0.0)
    gate.leaves(NEW, 100.0)
    assert isinstance(gate.arrives(NEW, full, 100.0 + KNOWN_S), Passed)
    gate.leaves(NEW, 200.0 + KNOWN_S)
    assert isinstance(gate.arrives(NEW, full, 201.0 + 2 * KNOWN_S), Refused)


def test_a_conversation_that_only_begins_is_a_newcomer_though_another_one_began_alike() -> None:
    gate, begins = Gate(), Caller(b"hello", goes_on=False)
    gate.arrives(begins, notice(0.0), 0.0)
    assert isinstance(gate.arrives(begins, notice(1e6), 1.0), Refused)
    assert isinstance(gate.arrives(replace(begins, goes_on=True), notice(1e6), 2.0), Passed)


def test_a_known_session_does_not_bring_any_number_of_turns_at_once() -> None:
    gate, full = Gate(), notice(1e6)
    gate.arrives(NEW, notice(0.0), 0.0)
    decided = [gate.arrives(NEW, full, 1.0) for _ in range(2 * MAX_AT_ONCE)]
    assert sum(isinstance(each, Passed) for each in decided) == MAX_AT_ONCE - 1
    gate.leaves(NEW, 2.0)
    assert isinstance(gate.arrives(NEW, full, 2.0), Passed)


def test_of_a_burst_only_as_many_pass_as_the_limit_allows() -> None:
    gate, told = Gate(), notice(0.0, turn_s=0.5)
    decided = [gate.arrives(Caller(str(number).encode(), True), told, 0.0) for number in range(200)]
    assert sum(isinstance(each, Passed) for each in decided) == LIMIT_S / 0.5 + 1
    assert isinstance(gate.arrives(NEW, replace(told, told_s=2 * TRANSIT_S), 2 * TRANSIT_S), Passed)


@given(
    st.lists(
        st.tuples(st.integers(0, 8), st.floats(0.0, 3.0), st.floats(0.0, 60.0), st.booleans()), min_size=1, max_size=60
    )
)
def test_a_known_session_is_never_refused_and_an_unknown_one_only_beyond_the_limit(
    drawn: list[tuple[int, float, float, bool]],
) -> None:
    gate, now_s, passed, first_s = Gate(), 0.0, set[bytes](), dict[bytes, float]()
    for number, after_s, wait_s, named in drawn:
        now_s += after_s
        caller = Caller(bytes([number]), named)
        decided = gate.arrives(caller, notice(wait_s, told_s=now_s), now_s)
        first = first_s.setdefault(caller.key, now_s)
        if wait_s <= LIMIT_S or (named and caller.key in passed):
            assert isinstance(decided, Passed)
            assert math.isclose(decided.waited_s, now_s - first, abs_tol=1e-9)
            passed.add(caller.key)
            del first_s[caller.key]
            gate.leaves(caller, now_s)
        else:
            assert isinstance(decided, Refused)
            assert decided.retry_after_s >= decided.expected_s - LIMIT_S
