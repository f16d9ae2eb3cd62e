from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from vllm.sampling_params import SamplingParams
from vllm.v1.core.sched.request_queue import FCFSRequestQueue, PriorityRequestQueue, RequestQueue

from augserve.runtime.queueing.waiting_queue import HEAD, WaitingQueue
from augserve.runtime.vllm_compat import Request

PARAMS = SamplingParams(max_tokens=4)


def request(number: int, arrival_s: float = 0.0, priority: int = 0) -> Request:
    return Request(f"r{number:05d}", [1, 2, 3], PARAMS, None, arrival_time=arrival_s, priority=priority)


def describe(request: Request) -> Sequence[float]:
    return (float(request.request_id[1:]), request.arrival_time)


def fill(count: int, by_priority: bool = False) -> tuple[WaitingQueue, list[Request]]:
    queue = WaitingQueue(2, describe, by_priority)
    requests = [request(number, float(number)) for number in range(count)]
    for each in requests:
        queue.add_request(each)
    return queue, requests


class AsVllm(RuleBasedStateMachine):
    """Without ranking, any interleaving of the methods gives the same as vLLM's own queue."""

    own: RequestQueue
    ours: WaitingQueue
    out: list[Request]

    @initialize(by_priority=st.booleans())
    def start(self, by_priority: bool) -> None:
        self.own = PriorityRequestQueue() if by_priority else FCFSRequestQueue()
        self.ours = WaitingQueue(2, describe, by_priority)
        self.out = []
        self.number = 0

    @rule(count=st.integers(1, 150), spread=st.integers(1, 5))
    def add(self, count: int, spread: int) -> None:
        for _ in range(count):
            new = request(self.number, float(self.number % spread), self.number * 7 % spread)
            self.number += 1
            self.own.add_request(new)
            self.ours.add_request(new)

    @precondition(lambda self: len(self.own))
    @rule(count=st.integers(1, 60))
    def pop(self, count: int) -> None:
        for _ in range(min(count, len(self.own))):
            assert self.ours.peek_request() is self.own.peek_request()
            popped = self.own.pop_request()
            assert self.ours.pop_request() is popped
            self.out.append(popped)

    @precondition(lambda self: self.out)
    @rule(count=st.integers(1, 5))
    def prepend(self, count: int) -> None:
        back, self.out = self.out[-count:], self.out[:-count]
        if count == 1:
            self.own.prepend_request(back[0])
            self.ours.prepend_request(back[0])
        else:
            self.own.prepend_requests(back)
            self.ours.prepend_requests(back)

    @precondition(lambda self: len(self.own))
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        chosen = data.draw(st.lists(st.sampled_from(list(self.own)), min_size=1, max_size=5, unique_by=id))
        self.own.remove_request(chosen[0])
        self.ours.remove_request(chosen[0])
        self.own.remove_requests([*chosen, *self.out[:2]])
        self.ours.remove_requests([*chosen, *self.out[:2]])

    @precondition(lambda self: len(self.own))
    @rule()
    def rank_and_unrank(self) -> None:
        self.ours.rank(np.arange(len(self.ours), dtype=float)[::-1])
        self.ours.unrank()

    @invariant()
    def the_same_in_the_same_order(self) -> None:
        if hasattr(self, "own"):
            assert list(self.ours) == list(self.own)
            assert len(self.ours) == len(self.own)
            assert bool(self.ours) == bool(self.own)
            rows = [tuple(row) for row in self.ours.columns.T]
            assert rows == [describe(each) for each in self.ours.requests]
            assert [self.ours.slot(each) for each in self.ours.requests] == list(range(len(self.ours)))


TestAsVllm = AsVllm.TestCase
TestAsVllm.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


def test_ranked_requests_go_by_key_then_by_time_of_entry() -> None:
    queue, requests = fill(5 * HEAD)
    keys = np.array([number * 31 % 50 for number in range(5 * HEAD)], float)
    queue.rank(keys)
    expected = [requests[index] for index in np.argsort(keys, kind="stable")]
    assert list(queue) == expected
    assert [queue.pop_request() for _ in requests] == expected
    with pytest.raises(IndexError):
        queue.peek_request()


def test_between_rankings_added_requests_go_last_and_prepended_ones_first() -> None:
    queue, requests = fill(3)
    queue.rank(np.array([3.0, 1.0, 2.0]))
    first = queue.pop_request()
    new = request(9)
    queue.add_request(new)
    queue.prepend_request(first)
    assert list(queue) == [requests[1], requests[2], requests[0], new]
    queue.rank(np.zeros(4))
    assert list(queue) == [requests[1], requests[0], requests[2], new]


def test_deferred_requests_go_after_the_others_until_the_next_ranking() -> None:
    queue, requests = fill(2 * HEAD)
    queue.rank(np.arange(2.0 * HEAD))
    assert queue.foremost(3) == requests[:3]
    queue.defer([requests[0], requests[2]])
    new = request(9999)
    queue.add_request(new)
    assert queue.foremost(2) == [requests[1], requests[3]]
    kept = [each for each in requests if each not in (requests[0], requests[2])]
    assert list(queue) == [*kept, requests[0], requests[2], new]
    queue.rank(np.arange(2.0 * HEAD + 1))
    queue.defer([requests[0]])
    assert [queue.pop_request() for _ in range(len(queue))] == [*requests[1:], new, requests[0]]


def test_an_empty_queue_has_no_foremost_requests() -> None:
    queue, _ = fill(0)
    assert queue.foremost(4) == []


def test_the_callers_priority_orders_classes_and_keys_order_inside() -> None:
    queue = WaitingQueue(2, describe, by_priority=True)
    requests = [request(number, float(number), priority=number % 2) for number in range(4 * HEAD)]
    for each in requests:
        queue.add_request(each)
    keys = -np.arange(4 * HEAD, dtype=float)
    queue.rank(keys)
    expected = sorted(requests, key=lambda each: (each.priority, -each.arrival_time))
    assert [queue.peek_request()] == expected[:1]
    urgent = request(9999, 1e6, priority=-1)
    queue.add_request(urgent)
    assert [queue.pop_request() for _ in range(len(queue))] == [urgent, *expected]


def test_keys_with_a_nan_or_of_a_wrong_shape_change_nothing() -> None:
    queue, requests = fill(3)
    for keys in (np.array([1.0, np.nan, 0.0]), np.zeros(2)):
        with pytest.raises(ValueError, match="3 requests"):
            queue.rank(keys)
    assert list(queue) == requests


def test_another_first_request_is_a_reordering() -> None:
    queue, _ = fill(3)
    assert queue.reorders(np.array([2.0, 1.0, 3.0]))
    assert not queue.reorders(np.array([1.0, 1.0, 3.0]))
    assert not WaitingQueue(2, describe, by_priority=True).reorders(np.zeros(0))


def test_a_request_that_returns_has_its_new_place() -> None:
    queue, requests = fill(3)
    assert queue.peek_request() is requests[0]
    queue.remove_request(requests[0])
    queue.add_request(requests[0])
    assert list(queue) == [queue.pop_request() for _ in range(3)] == [requests[1], requests[2], requests[0]]


def test_a_missing_request_cannot_be_removed() -> None:
    queue, requests = fill(1)
    queue.remove_request(requests[0])
    with pytest.raises(ValueError, match="not in the queue"):
        queue.remove_request(requests[0])
    queue.remove_requests(requests)
    assert not queue


@pytest.mark.parametrize("by_priority", [False, True])
def test_a_request_added_twice_is_removed_completely(by_priority: bool) -> None:
    """vLLM adds a streaming session again that was preempted as it ended its turn, then removes it."""
    queue, requests = fill(3, by_priority)
    queue.prepend_request(requests[1])
    queue.add_request(requests[1])
    queue.remove_requests({requests[1]})
    assert len(queue) == 2
    assert [queue.pop_request(), queue.pop_request()] == [requests[0], requests[2]]
    assert not queue
