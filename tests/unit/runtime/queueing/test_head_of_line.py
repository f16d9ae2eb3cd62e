from collections.abc import Collection
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st
from vllm.sampling_params import SamplingParams

from augserve.runtime.queueing.free_room import Demand
from augserve.runtime.queueing.head_of_line import PassingOver
from augserve.runtime.vllm_compat import Request

PARAMS = SamplingParams(max_tokens=4)


def request(blocks: int, number: int = 0) -> Request:
    return Request(f"r{number}", [1] * (16 * blocks), PARAMS, None, arrival_time=0.0)


@dataclass
class Line:
    """A queue whose order is a list."""

    waiting: list[Request]
    order: list[Request] = field(default_factory=list)

    def __contains__(self, each: object) -> bool:
        return each in self.waiting

    def foremost(self, count: int) -> list[Request]:
        return self.order[:count]

    def rank(self, first: Request | None) -> None:
        self.order = sorted(self.waiting, key=lambda each: each is not first)

    def defer(self, requests: Collection[Request]) -> None:
        self.order = [*(each for each in self.order if each not in requests), *requests]


def needs(each: Request, free_blocks: int) -> Demand:
    return Demand(each.num_tokens // 16, each.num_tokens)


def step(passing: PassingOver, line: Line, free_blocks: int, now_s: float, token_budget: int = 100_000) -> list[str]:
    """Rank and arrange, then admit as vLLM does: up to the first request that does not fit."""
    line.rank(passing.reserved(line, now_s))
    passing.arrange(line, needs, free_blocks, token_budget, now_s)
    admitted = []
    for each in list(line.order):
        if each.num_tokens // 16 > free_blocks:
            break
        free_blocks -= each.num_tokens // 16
        line.waiting.remove(each)
        admitted.append(each.request_id)
    return admitted


def test_smaller_turns_pass_a_turn_that_does_not_fit() -> None:
    line = Line([request(50, 1), request(3, 2), request(4, 3), request(40, 4)])
    assert step(PassingOver(2.0, 60.0), line, 10, 0.0) == ["r2", "r3"]
    assert line.order[-2:] == line.waiting


def test_after_pass_over_s_free_blocks_are_reserved() -> None:
    line, passing = Line([request(50, 1), request(3, 2)]), PassingOver(2.0, 60.0)
    assert step(passing, line, 10, 0.0) == ["r2"]
    line.waiting.append(request(3, 3))
    assert step(passing, line, 10, 1.9) == ["r3"]
    line.waiting.insert(0, request(3, 4))
    assert step(passing, line, 10, 2.0) == []
    assert step(passing, line, 40, 30.0) == []
    assert step(passing, line, 53, 31.0) == ["r1", "r4"]
    assert passing.reserved(line, 31.0) is None


def test_there_is_one_reservation_at_a_time_for_the_turn_passed_over_first() -> None:
    first, second = request(50, 1), request(60, 2)
    line, passing = Line([first, second, request(3, 3)]), PassingOver(2.0, 60.0)
    step(passing, line, 10, 0.0)
    assert passing.reserved(line, 2.0) is first
    line.waiting.remove(first)
    assert passing.reserved(line, 2.1) is second


def test_a_reservation_ends_if_no_blocks_become_free() -> None:
    line, passing = Line([request(50, 1), request(3, 2)]), PassingOver(2.0, 60.0)
    step(passing, line, 2, 0.0)
    assert step(passing, line, 10, 61.9) == []
    assert step(passing, line, 10, 62.1) == ["r2"]


def test_setting_the_clock_back_does_not_prolong_passing() -> None:
    line, passing = Line([request(50, 1), request(3, 2), request(3, 3)]), PassingOver(2.0, 60.0)
    step(passing, line, 3, 3600.0)
    assert passing.reserved(line, 10.0) is None
    assert passing.reserved(line, 12.0) is line.waiting[0]


def test_turns_beyond_the_token_budget_are_not_passed_over() -> None:
    line, passing = Line([request(5, 1), request(50, 2), request(1, 3)]), PassingOver(2.0, 60.0)
    line.rank(None)
    assert passing.arrange(line, needs, 10, 80, 0.0) == []


@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=30),
    st.lists(st.integers(0, 30), min_size=1, max_size=10),
    st.floats(0.1, 3.0),
)
def test_every_turn_is_admitted_within_a_bounded_number_of_steps(
    sizes: list[int], free: list[int], pass_over_s: float
) -> None:
    """Provided that the cache is nearly empty from time to time."""
    line = Line([request(size, number) for number, size in enumerate(sizes)])
    passing, admitted = PassingOver(pass_over_s, 60.0), list[str]()
    for number in range(len(sizes) * 50):
        if not line.waiting:
            break
        admitted += step(passing, line, 20 if number % 10 == 9 else free[number % len(free)], 0.1 * number)
    assert sorted(admitted) == sorted(f"r{number}" for number in range(len(sizes)))
