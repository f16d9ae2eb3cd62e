import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.runtime.steering.prompt_chunks import fair_share, most_each
from augserve.runtime.steering.token_budget import LEAST_PREFILL

NOTHING = np.empty(0)


@pytest.mark.parametrize(
    ("running", "waiting", "limit"),
    [
        ([600], [], 0),  # it fits
        ([5_000], [], 1_000),  # alone it has the step, but not the tokens of decodes
        ([5_000], [8_000, 5_000], 1_000),  # prompts that are as long or longer do not count
        ([5_000], [100, 50], 850),  # the rest of the step
        ([5_000, 200], [100], 700),
        ([5_000, 4_000], [], 500),  # half each
        ([5_000], [700], 500),
        ([5_000], [90] * 40, 250),  # its share
        ([5_000], [90] * 60, 1_000),  # a backlog
        ([5_000, 3_000, 3_000], [50], 1_000),
    ],
)
def test_a_long_prompt_shares_the_step_with_shorter_ones(running: list[int], waiting: list[int], limit: int) -> None:
    assert most_each(1_000, np.array(running, float), np.array(waiting, float), 0.25) == limit


def test_a_tiny_budget_still_lets_prompts_progress() -> None:
    assert most_each(10, np.array([500.0]), np.array([5.0]), 0.25) == LEAST_PREFILL


@given(st.lists(st.integers(1, 9_000), min_size=1, max_size=8), st.integers(1, 9_000))
def test_a_fair_share_uses_the_whole_capacity(tokens: list[int], capacity: int) -> None:
    level = fair_share(np.array(tokens, float), capacity)
    served = sum(min(level, each) for each in tokens)
    assert served == pytest.approx(min(capacity, sum(tokens)))


@given(
    st.lists(st.integers(1, 9_000), min_size=1, max_size=8),
    st.lists(st.integers(1, 9_000), max_size=8),
    st.integers(LEAST_PREFILL * 8, 4_000),
)
def test_prompts_that_share_take_no_more_than_the_step_and_leave_nothing_of_it_unused(
    running: list[int], waiting: list[int], budget: int
) -> None:
    limit = most_each(budget, np.array(running, float), np.array(waiting, float), 0.25)
    taken = sum(min(limit or budget, left) for left in running)
    if limit == budget:
        return  # they follow one another
    assert taken <= budget
    assert taken >= min(sum(running), budget * 0.25 - len(running))
    if limit:
        shorter = sum(min(limit, tokens) for tokens in waiting if tokens < max(running))
        assert taken + shorter >= min(budget, sum(running)) - len(running) - len(waiting), "tokens are left unused"
