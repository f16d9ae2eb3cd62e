import pytest

from augserve.models.serving.settings import StepTime
from augserve.pipeline.simulator.rivals.waste import discard_waste, preserve_waste, remaining_pause_s

STEP = StepTime(base_s=0.0, per_prefill_token_s=0.001, per_decode_s=0.0, per_context_token_s=0.0)


def test_preserving_wastes_the_context_for_the_pause() -> None:
    assert preserve_waste(2.5, 400) == 1000


def test_discarding_in_one_chunk_wastes_the_context_and_all_others_for_a_forward_pass() -> None:
    # T_fwd(100) = 0.1 s: 0.1 x 100 + 0.1 x 50
    assert discard_waste(STEP, 100, 50, chunk_tokens=100) == pytest.approx(15)
    assert discard_waste(STEP, 100, 50, chunk_tokens=8192) == pytest.approx(15)


def test_discarding_in_chunks_counts_what_each_chunk_has_built_up() -> None:
    # 100 tokens in chunks of 40: n = 2, f = 0.04; 0.04 x 3 x 40 = 4.8 held, 0.04 x 2 x 10 = 0.8 of the others;
    # the rest of 20 tokens: 0.02 x 100 + 0.02 x 10 = 2.2
    assert discard_waste(STEP, 100, 10, chunk_tokens=40) == pytest.approx(7.8)


def test_an_empty_context_is_discarded_for_nothing() -> None:
    assert discard_waste(STEP, 0, 1000, chunk_tokens=512) == 0


@pytest.mark.parametrize(("expected", "elapsed", "left"), [(3.0, 1.0, 2.0), (3.0, 3.0, 3.0), (3.0, 8.0, 8.0)])
def test_a_pause_that_outlasts_its_prediction_lasts_as_long_again(expected: float, elapsed: float, left: float) -> None:
    assert remaining_pause_s(expected, elapsed) == left
