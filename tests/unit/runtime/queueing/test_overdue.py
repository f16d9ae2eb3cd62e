from collections.abc import Sequence

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from vllm.sampling_params import SamplingParams

from augserve.runtime.queueing.overdue import MAX_OVERDUE, OverdueTurns
from augserve.runtime.queueing.value import CLASS_S, Column
from augserve.runtime.queueing.waiting_queue import WaitingQueue
from augserve.runtime.vllm_compat import Request

PARAMS = SamplingParams(max_tokens=4)


def queue_of(*turns: tuple[float, float], priorities: Sequence[int] = ()) -> WaitingQueue:
    """A queue of turns, each given by its waiting-since time and its uncached tokens, and by the caller's priority."""

    def describe(request: Request) -> Sequence[float]:
        since_s, uncached = turns[int(request.request_id)]
        row = dict.fromkeys(Column, 0.0) | {Column.WAITING_SINCE_S: since_s, Column.TOKENS: uncached + 500}
        return list((row | {Column.UNCACHED_TOKENS: uncached}).values())

    queue = WaitingQueue(len(Column), describe, by_priority=bool(priorities))
    for number in range(len(turns)):
        priority = priorities[number] if priorities else 0
        queue.add_request(Request(str(number), [1], PARAMS, None, arrival_time=float(number), priority=priority))
    return queue


def admit(queue: WaitingQueue, request: Request) -> None:
    """Move the request to the running batch, where its prompt is computed."""
    queue.remove_request(request)
    request.num_computed_tokens = 1


def first_of(overdue: OverdueTurns, queue: WaitingQueue, now_s: float, token_budget: int) -> list[str]:
    """Ids of the requests that go first in this step, in order."""
    values = np.zeros(len(queue))
    overdue.put_first(values, queue, now_s, token_budget)
    first = [slot for slot in np.argsort(values).tolist() if values[slot] <= -CLASS_S]
    assert all(value == 0 for slot, value in enumerate(values) if slot not in first)
    return [queue.requests[slot].request_id for slot in first]


def test_overdue_turns_go_first_longest_wait_first() -> None:
    queue = queue_of((30.0, 10), (20.0, 10), (99.0, 10), (10.0, 10), (25.0, 10))
    assert first_of(OverdueTurns(60.0, 0.5), queue, 100.0, 1000) == ["3", "1", "4", "0"]


def test_a_higher_priority_goes_first_whatever_the_waits() -> None:
    queue, overdue = queue_of((0.0, 400), (20.0, 400), (10.0, 400), priorities=(5, 0, 0)), OverdueTurns(60.0, 0.4)
    assert set(first_of(overdue, queue, 100.0, 1000)) == {"2", "1"}, "the account is spent on priority 0"


def test_many_overdue_turns_of_a_lower_priority_displace_none_of_a_higher_one() -> None:
    turns = [(0.0, 10.0)] * (2 * MAX_OVERDUE) + [(30.0, 10.0)]
    queue = queue_of(*turns, priorities=(*[5] * (2 * MAX_OVERDUE), 0))
    assert str(2 * MAX_OVERDUE) in first_of(OverdueTurns(60.0, 1.0), queue, 100.0, 10_000)


def test_the_share_of_the_budget_limits_how_many_go_first() -> None:
    turns = [(float(number), 500.0) for number in range(4)]
    assert first_of(OverdueTurns(60.0, 0.25), queue_of(*turns), 100.0, 4000) == ["0", "1", "2"]
    assert first_of(OverdueTurns(60.0, 0.25), queue_of(*turns), 100.0, 1000) == ["0"]


def test_no_turn_goes_first_while_the_account_is_overdrawn() -> None:
    queue, overdue = queue_of((0.0, 450.0), (1.0, 450.0)), OverdueTurns(60.0, 0.1)
    assert first_of(overdue, queue, 100.0, 1000) == ["0"]
    admit(queue, queue.requests[0])  # 100 - 450 tokens
    assert [first_of(overdue, queue, 100.0 + step, 1000) for step in range(3)] == [[], [], []]
    assert first_of(overdue, queue, 103.0, 1000) == ["1"]


def test_a_turn_aborted_before_its_admission_is_not_debited() -> None:
    queue, overdue = queue_of((0.0, 450.0), (1.0, 450.0)), OverdueTurns(60.0, 0.1)
    assert first_of(overdue, queue, 100.0, 1000) == ["0"]
    queue.remove_request(queue.requests[0])  # its client gives up
    assert first_of(overdue, queue, 101.0, 1000) == ["1"]


def test_a_turn_that_stays_in_the_queue_is_not_debited() -> None:
    queue, overdue = queue_of((0.0, 450.0), (1.0, 450.0)), OverdueTurns(60.0, 0.1)
    assert [first_of(overdue, queue, 100.0 + step, 1000)[0] for step in range(5)] == ["0"] * 5


def test_no_credit_is_saved_while_no_turn_is_overdue() -> None:
    queue, overdue = queue_of(*((float(number), 500.0) for number in range(4))), OverdueTurns(60.0, 0.1)
    for step in range(50):
        assert first_of(overdue, queue, step / 10, 1000) == []
    assert first_of(overdue, queue, 100.0, 1000) == ["0"]


def test_the_number_that_goes_first_in_a_step_is_bounded() -> None:
    queue = queue_of(*((float(number), 1.0) for number in range(39)))
    assert first_of(OverdueTurns(60.0, 1.0), queue, 200.0, 10**6) == [str(number) for number in range(MAX_OVERDUE)]


@example([2693, 2693, 2693], 0.05, [2693])
@given(
    st.lists(st.integers(1, 3000), min_size=1, max_size=40),
    st.floats(0.05, 1.0),
    st.lists(st.integers(200, 4000), min_size=1, max_size=30),
)
def test_overdue_turns_get_at_most_their_share_and_all_are_admitted(
    prompts: list[int], share: float, budgets: list[int]
) -> None:
    queue, overdue = queue_of(*((0.0, float(tokens)) for tokens in prompts)), OverdueTurns(60.0, share)
    spent = credited = step = 0
    while queue:
        token_budget = budgets[step % len(budgets)]
        step += 1
        credited += share * token_budget
        for number in first_of(overdue, queue, 100.0, token_budget)[:1]:  # one fits in each step
            admit(queue, next(each for each in queue.requests if each.request_id == number))
            spent += prompts[int(number)]
        assert spent <= credited + max(prompts) + 1e-6  # sums of shares are rounded
        assert step <= len(prompts) + sum(prompts) / (share * min(budgets)) + 1
