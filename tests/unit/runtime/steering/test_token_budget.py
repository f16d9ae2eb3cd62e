import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.models.serving.settings import BudgetGains, StepTime
from augserve.runtime.steering.token_budget import DRAIN_S, LEAST_PREFILL, MISSES, TokenBudget

TPOT_S = 0.1
STEP = StepTime(base_s=0.005, per_prefill_token_s=2e-5, per_decode_s=1e-4, per_context_token_s=0.0)
GAINS = BudgetGains(prefill_share=0.6, slack_share=0.25, drain_share=0.5, correction=0.05)


def decodes(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def budget(configured: int = 8192, gains: BudgetGains = GAINS, step: StepTime = STEP) -> TokenBudget:
    return TokenBudget(gains, TPOT_S, step, configured)


def run(steered: TokenBudget, steps: int, step_s: float, prefill_tokens: int, count: int) -> None:
    for _ in range(steps):
        steered.tokens(decodes(count))
        steered.measured(step_s, prefill_tokens, count)


@given(
    st.lists(st.tuples(st.floats(0, 10), st.integers(0, 9000), st.sets(st.integers(0, 300), max_size=30)), max_size=60),
    st.integers(1, 9000),
    st.integers(1, 5),
    st.builds(BudgetGains, st.floats(0, 0.95), st.floats(0.01, 1), st.floats(0, 1), st.floats(0, 1), st.just(0.25)),
)
def test_decodes_and_prompts_progress_within_the_configured_budget(
    steps: list[tuple[float, int, set[int]]], configured: int, tokens_each: int, gains: BudgetGains
) -> None:
    steered = budget(configured, gains)
    for step_s, prefill_tokens, running in steps:
        tokens = steered.tokens([str(number) for number in running], tokens_each)
        assert min(len(running) * tokens_each + LEAST_PREFILL, configured) <= tokens <= configured
        assert tokens == configured or running
        steered.measured(step_s, prefill_tokens, len(running))


def test_new_decodes_leave_a_share_of_one_token_time() -> None:
    """By hand: 25 ms of 100 ms, of which 5 ms and 10 decodes of 0.1 ms are fixed: 19 ms for prompts."""
    assert budget().tokens(decodes(10)) == 10 + 950


@pytest.mark.parametrize(("late_s", "tokens"), [(0.0, 950), (0.3, 2200), (DRAIN_S, 2200), (1.1, 950)])
def test_steps_are_longer_while_late_turns_wait_that_can_be_cleared(late_s: float, tokens: int) -> None:
    """By hand: 50 ms of 100 ms instead of 25, of which 6 are fixed."""
    assert budget().tokens(decodes(10), late_s=late_s) == 10 + tokens


def test_many_decodes_share_the_step_with_prompts() -> None:
    """By hand: 150 decodes take 20 ms, which are 40 % of 50 ms: 30 ms for prompts."""
    assert budget().tokens(decodes(150)) == 150 + 1500


def test_the_share_of_prompts_never_breaks_the_slo() -> None:
    """By hand: 450 decodes take 50 ms; of 80 ms, 30 are left. With 800 nothing is left."""
    assert budget().tokens(decodes(450)) == 450 + 1500
    assert budget().tokens(decodes(800)) == 800 + LEAST_PREFILL


def test_slack_lengthens_steps_until_a_turn_begins() -> None:
    steered = budget()
    first = steered.tokens(decodes(2))
    run(steered, 20, 0.006, 0, 2)
    later = steered.tokens(decodes(2))
    assert later == 8192 > 4 * first
    assert steered.tokens(decodes(3)) == pytest.approx(first, rel=0.1)


def test_a_late_turn_counts_as_one_within_the_slo() -> None:
    steered = budget(gains=BudgetGains(0.6, 0.25, correction=0.0))
    fresh = steered.tokens(decodes(10))
    run(steered, 50, 0.5, 900, 10)
    assert steered.tokens(decodes(10)) == fresh


def test_a_slower_engine_gets_a_smaller_budget() -> None:
    """An engine of three times the model's times, whose steps the settings' model misjudges at first."""
    steered = budget()
    first = steered.tokens(decodes(10))
    for prefill_tokens in (0, 300, 900) * 100:
        steered.tokens(decodes(10))
        steered.measured(3 * (0.006 + 2e-5 * prefill_tokens), prefill_tokens, 10)
    run(steered, 60, 0.1, 0, 10)  # until no slack is left
    shared_s = 0.018 / 0.4
    assert steered.tokens(["new", *decodes(9)]) < first / 2
    assert steered.tokens(["new", *decodes(9)]) - 10 <= (shared_s - 0.018) / 6e-5 * 1.1


def test_prompts_do_not_starve_where_decodes_alone_exceed_the_slo() -> None:
    """By hand: ten decodes take 300 ms, which are 40 % of 750 ms: 450 ms for prompts. The SLO is 100 ms."""
    slow = StepTime(base_s=0.3, per_prefill_token_s=1e-3, per_decode_s=0.0, per_context_token_s=0.0)
    steered = budget(step=slow)
    run(steered, MISSES - 1, 0.3, 0, 10)
    assert steered.tokens(decodes(10)) == 10 + LEAST_PREFILL
    run(steered, 1, 0.3, 0, 10)
    assert steered.tokens(decodes(10)) == 10 + 450
    run(steered, 1, 0.09, 0, 10)
    assert steered.tokens(decodes(10)) == 10 + LEAST_PREFILL


def test_steps_without_decodes_teach_nothing() -> None:
    steered, same = budget(), budget()
    run(steered, 30, 2.0, 8192, 0)
    assert steered.tokens(decodes(10)) == same.tokens(decodes(10))


def test_a_small_configured_budget_is_never_exceeded() -> None:
    assert budget(100).tokens(decodes(5)) == 100
    assert budget(100).tokens(decodes(95), tokens_each=4) == 100
