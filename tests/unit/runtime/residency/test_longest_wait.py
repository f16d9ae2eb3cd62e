import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.runtime.residency.longest_wait import Admissions, OverdueAdmissions, PassedOver


def test_a_turn_is_due_once_it_has_waited_too_long() -> None:
    account = OverdueAdmissions(60.0, 0.1)
    assert not account.is_due(0.0, 59.0)
    assert account.is_due(0.0, 61.0)


def test_an_admission_is_paid_for_by_the_share_of_the_time() -> None:
    account = OverdueAdmissions(60.0, 0.1)
    assert account.is_due(0.0, 100.0)
    account.admitted(3.0)
    assert not account.is_due(0.0, 129.0)
    assert account.is_due(0.0, 131.0)


def test_it_tells_when_the_longest_wait_is_due() -> None:
    account = OverdueAdmissions(60.0, 0.1)
    account.is_due(90.0, 100.0)
    assert account.looks_again_s(100.0) == pytest.approx(150.0)
    account.admitted(9.0)
    assert account.looks_again_s(100.0) == pytest.approx(190.0)


def test_a_clock_that_was_set_back_costs_no_more_than_that_time() -> None:
    account = OverdueAdmissions(60.0, 0.5)
    account.is_due(0.0, 1000.0)
    account.admitted(1.0)
    assert not account.is_due(0.0, 500.0)
    assert account.is_due(0.0, 502.5)


@given(
    costs_s=st.lists(st.floats(0.1, 20.0), min_size=1, max_size=20),
    share=st.floats(0.01, 1.0),
    step_s=st.floats(0.01, 5.0),
)
def test_every_turn_goes_in_within_the_bound(costs_s: list[float], share: float, step_s: float) -> None:
    """All arrive at 0, no room is ever left, and the account is looked at every `step_s`."""
    account, now_s = OverdueAdmissions(60.0, share), 0.0
    bound_s = account.bound_s(sum(costs_s))
    waiting = list(costs_s)
    while waiting:
        now_s += step_s
        if account.is_due(0.0, now_s):
            account.admitted(waiting.pop(0))
    assert now_s <= bound_s + step_s * (len(costs_s) + 1)


@given(share=st.floats(0.0, 1.0), count=st.integers(1, 200))
def test_the_longest_wait_gets_its_share_of_the_admissions(share: float, count: int) -> None:
    admissions, longest = Admissions(share), 0
    for _ in range(count):
        is_next = admissions.longest_is_next
        longest += is_next
        admissions.admitted(longest=is_next)
    assert share * count / (1 + share) - 2 <= longest <= share * count + 1


def test_a_half_is_every_other_admission_and_no_more_than_one_is_owed() -> None:
    admissions = Admissions(0.5)
    for _ in range(10):
        admissions.admitted(longest=False)
    order = []
    for _ in range(4):
        order.append(admissions.longest_is_next)
        admissions.admitted(longest=order[-1])
    assert order == [True, False, True, False]


def test_a_turn_goes_in_once_light_turns_have_come_past_it_with_as_many_blocks() -> None:
    passed = PassedOver()
    passed.came(60)
    assert not passed.is_due(100)
    passed.came(40)
    assert passed.is_due(100)
    passed.restart()
    assert not passed.is_due(100)
