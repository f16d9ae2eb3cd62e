import pytest

from augserve.models.serving.settings import StepTime
from augserve.pipeline.simulator.rivals.waste import discard_waste, preserve_waste

STEP = StepTime(base_s=0.0, per_prefill_token_s=0.001, per_decode_s=0.0, per_context_token_s=0.0)


def test_preserving_wastes_the_context_for_the_pause() -> None:
    assert preserve_waste(2.5, 400) == 1000


def test_discarding_in_one_chunk_wastes_all_contexts_for_one_forward_pass() -> None:
    # T_fwd(100) = 0.1 s: 0.1 x 100 + 0.1 x 50
    assert discard_waste(STEP, 100, 50, chunk_tokens=100) == pytest.approx(15)
    assert discard_waste(STEP, 100, 50, chunk_tokens=8192) == pytest.approx(15)


def test_discarding_in_chunks_sums_the_context_of_each_chunk() -> None:
    # 100 tokens in chunks of 40: n = 2, f = 0.04; 0.04 x 3 x 40 = 4.8 own, 0.04 x 2 x 10 = 0.8 of the others;
    # the rest of 20 tokens: 0.02 x 100 + 0.02 x 10 = 2.2
    assert discard_waste(STEP, 100, 10, chunk_tokens=40) == pytest.approx(7.8)


def test_discarding_an_empty_context_wastes_nothing() -> None:
    assert discard_waste(STEP, 0, 1000, chunk_tokens=512) == 0
