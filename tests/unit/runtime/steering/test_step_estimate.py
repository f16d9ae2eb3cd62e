import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.models.serving.settings import StepTime
from augserve.runtime.steering.step_estimate import FARTHEST, StepEstimate

STEP = StepTime(base_s=0.005, per_prefill_token_s=2e-5, per_decode_s=2e-5, per_context_token_s=0.0)
DECODES = 50
FIXED_S = 0.006  # by hand: 5 ms + 50 · 20 µs


def learn(estimate: StepEstimate, steps: int, fixed: float, prompt: float) -> None:
    """Steps of an engine whose two terms take these multiples of the model's."""
    random = np.random.default_rng(1)
    for _ in range(steps):
        tokens = int(random.integers(0, 1000))
        estimate.measured(fixed * FIXED_S + prompt * 2e-5 * tokens, tokens, DECODES)


def test_the_model_holds_until_a_step_is_measured() -> None:
    estimate = StepEstimate(STEP, 0.1)
    assert estimate.fixed_s(DECODES) == pytest.approx(FIXED_S)
    assert estimate.prefill_tokens(0.02, 8192) == 1000


@pytest.mark.parametrize(("fixed", "prompt"), [(2.0, 3.0), (0.5, 0.4), (40.0, 15.0)])
def test_another_engine_is_learned_from_its_steps(fixed: float, prompt: float) -> None:
    estimate = StepEstimate(STEP, 0.1)
    learn(estimate, 1500, fixed, prompt)
    assert estimate.fixed_s(DECODES) == pytest.approx(fixed * FIXED_S, rel=0.02)
    assert estimate.prefill_tokens(prompt * 0.02, 8192) == pytest.approx(1000, rel=0.02)


def test_without_correction_the_model_stays() -> None:
    estimate = StepEstimate(STEP, 0.0)
    learn(estimate, 100, 3.0, 3.0)
    assert estimate.fixed_s(DECODES) == pytest.approx(FIXED_S)


def test_a_step_that_stalls_moves_the_estimate_little() -> None:
    estimate = StepEstimate(STEP, 0.05)
    estimate.measured(30.0, 500, DECODES)
    assert estimate.fixed_s(DECODES) < 1.25 * FIXED_S
    assert estimate.prefill_tokens(0.02, 8192) > 1000 / 1.25


def test_a_model_without_a_time_per_prompt_token_limits_no_prompt() -> None:
    estimate = StepEstimate(StepTime(base_s=0.0, per_prefill_token_s=0.0, per_decode_s=0.0), 0.1)
    estimate.measured(1.0, 100, 10)
    assert estimate.prefill_tokens(0.0, 8192) == 8192


@given(
    st.lists(st.tuples(st.floats(0, 1e3), st.integers(0, 16_384), st.integers(0, 1024)), max_size=80),
    st.floats(0, 1),
    st.floats(-10, 10),
)
def test_no_measurement_makes_the_estimate_useless(
    steps: list[tuple[float, int, int]], correction: float, time_s: float
) -> None:
    estimate = StepEstimate(STEP, correction)
    for step in steps:
        estimate.measured(*step)
    assert estimate.fixed_s(DECODES) * (1 + 1e-9) >= FIXED_S / FARTHEST
    assert estimate.fixed_s(DECODES) <= FIXED_S * FARTHEST * (1 + 1e-9)
    assert 0 <= estimate.prefill_tokens(time_s, 8192) <= 8192
