from hypothesis import given
from hypothesis import strategies as st

from augserve.models.serving.settings import BudgetGains, StepTime
from augserve.runtime.steering.token_budget import DRAIN_S, IDLE_S, LEAST_PREFILL, TokenBudget

GAINS = BudgetGains(min_tokens=512, proportional=0.5, integral=0.05, target=0.8)
CPU = StepTime(base_s=0.03, per_prefill_token_s=1e-3, per_decode_s=2e-3)


def run(budget: TokenBudget, step_s: float, steps: int, start_s: float = 0.0) -> float:
    now_s = start_s
    for _ in range(steps):
        now_s += step_s
        budget.measured(step_s, 10, now_s)
    return now_s


@given(st.lists(st.tuples(st.floats(1e-4, 10), st.integers(0, 300), st.floats(0, 3)), max_size=60))
def test_the_budget_stays_within_its_bounds(steps: list[tuple[float, int, float]]) -> None:
    budget, now_s = TokenBudget(GAINS, 0.1, StepTime(), 8192), 0.0
    for step_s, decodes, gap_s in steps:
        now_s += step_s + gap_s
        budget.measured(step_s, decodes, now_s)
        tokens = budget.tokens(decodes, now_s)
        assert 512 <= tokens <= 8192
        assert tokens == 8192 or decodes


def test_steps_that_take_too_long_lower_the_budget_and_short_ones_restore_it() -> None:
    budget = TokenBudget(GAINS, 0.1, StepTime(), 8192)
    now_s = run(budget, 0.1, 1)
    first = budget.tokens(10, now_s)
    now_s = run(budget, 0.1, 50, now_s)
    assert budget.tokens(10, now_s) < first < 8192
    now_s = run(budget, 0.01, 30, now_s)
    assert budget.tokens(10, now_s) == 8192


def test_a_long_overload_does_not_wind_up() -> None:
    short, long = TokenBudget(GAINS, 0.1, StepTime(), 8192), TokenBudget(GAINS, 0.1, StepTime(), 8192)
    ends = [run(short, 0.4, 20), run(long, 0.4, 2000)]
    recovery = []
    for budget, now_s in zip((short, long), ends, strict=True):
        steps = 0
        while budget.tokens(10, now_s) < 8192:
            now_s = run(budget, 0.01, 1, now_s)
            steps += 1
        recovery.append(steps)
    assert recovery[0] == recovery[1]


def test_without_decodes_the_whole_budget_is_used() -> None:
    budget = TokenBudget(GAINS, 0.1, StepTime(), 8192)
    now_s = run(budget, 1.0, 20)
    assert budget.tokens(10, now_s) < 8192
    assert budget.tokens(0, now_s) == 8192


def test_after_idle_time_the_whole_budget_is_used() -> None:
    budget = TokenBudget(GAINS, 0.1, StepTime(), 8192)
    now_s = run(budget, 1.0, 20) + IDLE_S + 1
    assert budget.tokens(10, now_s) == 8192
    budget.measured(0.08, 10, now_s)
    assert budget.tokens(10, now_s) == 8192


def test_decodes_and_prompts_progress_within_the_configured_budget() -> None:
    """Even where the decodes alone, with long drafts, exceed the least budget."""
    budget = TokenBudget(GAINS, 0.1, StepTime(), 1000)
    now_s = run(budget, 1.0, 50)
    assert budget.tokens(700, now_s) == 700 + LEAST_PREFILL
    assert budget.tokens(5000, now_s) == 1000
    assert TokenBudget(GAINS, 0.1, StepTime(), 100).tokens(5, 0.0) == 100


def test_the_integral_stops_while_the_proportional_part_is_at_its_bound() -> None:
    budget = TokenBudget(GAINS, 0.1, StepTime(), 8192)
    now_s = run(budget, 0.4, 100)
    assert budget.tokens(10, now_s) == 512
    now_s = run(budget, 0.01, 8, now_s)
    assert budget.tokens(10, now_s) == 8192


def test_steps_take_longer_while_a_clearable_backlog_of_late_turns_waits() -> None:
    gains = BudgetGains(min_tokens=512, proportional=0.5, integral=0.05, target=0.3, drain_target=0.8)

    def settled(late_s: float) -> int:
        budget, now_s = TokenBudget(gains, 0.1, StepTime(), 8192), 0.0
        for _ in range(50):
            now_s = run(budget, 0.06, 1, now_s)
            tokens = budget.tokens(10, now_s, late_s)
        return tokens

    assert settled(DRAIN_S / 2) == 8192
    assert settled(0.0) == settled(2 * DRAIN_S) == 512


def test_a_lower_drain_target_does_not_shorten_steps() -> None:
    gains = BudgetGains(min_tokens=512, proportional=0.5, integral=0.05, target=0.8, drain_target=0.0)
    budget, now_s = TokenBudget(gains, 0.1, StepTime(), 8192), 0.0
    assert not budget.drains
    for _ in range(50):
        now_s = run(budget, 0.06, 1, now_s)
        assert budget.tokens(10, now_s, DRAIN_S / 2) == 8192


def test_on_a_slow_engine_the_least_budget_fits_a_step_into_the_slo() -> None:
    """By hand, of 80 ms (0.8 of TPOT): 30 ms + 2 ms a decode leave 40 prompt tokens with 5 decodes, none with 30."""
    budget = TokenBudget(GAINS, 0.1, CPU, 8192)
    now_s = run(budget, 1.0, 100)
    assert budget.tokens(5, now_s) == 5 + 40
    assert budget.tokens(30, now_s) == 30 + LEAST_PREFILL
    free = TokenBudget(GAINS, 0.1, StepTime(per_prefill_token_s=0.0), 8192)
    assert free.tokens(5, run(free, 1.0, 100)) == 512


def test_many_decodes_lower_the_bound_of_the_share_which_then_recovers() -> None:
    budget = TokenBudget(GAINS, 0.1, CPU, 8192)
    now_s = 0.0
    for decodes in (40, 5):
        for _ in range(300):
            now_s += 1.0
            budget.measured(1.0, decodes, now_s)
    assert budget.tokens(5, now_s) == 45
    now_s = run(budget, 0.01, 30, now_s)
    assert budget.tokens(5, now_s) == 8192
