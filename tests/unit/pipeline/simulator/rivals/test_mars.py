import numpy as np
import pytest

from augserve.models.serving.settings import StepTime
from augserve.pipeline.simulator.rivals.mars import integral, memory_time

STEP = StepTime(base_s=0.0, per_prefill_token_s=0.01, per_decode_s=0.0, per_context_token_s=0.0)


def rank(prompt: float, cached: float, output: float, pause_s: float, continues: bool) -> float:
    columns = np.array([[prompt], [cached], [output], [pause_s], [float(continues)]])
    return float(integral(STEP, 0.1, columns)[0])


def test_memory_is_integrated_over_prefill_and_decode() -> None:
    # Prefill of 100: 1 s at 50 tokens on average; decode of 9 at 0.1 s: 0.9 s at 105 tokens on average.
    assert memory_time(STEP, 0.1, np.array([100.0]), np.array([0.0]), np.array([9.0]))[0] == pytest.approx(50 + 94.5)
    # 60 of them cached: 0.4 s at 80 tokens on average.
    assert memory_time(STEP, 0.1, np.array([100.0]), np.array([60.0]), np.array([9.0]))[0] == pytest.approx(32 + 94.5)


def test_a_last_turn_costs_its_own_memory_only() -> None:
    assert rank(100, 0, 9, pause_s=1000, continues=False) == pytest.approx(144.5)


def test_a_short_call_is_ranked_as_preserved() -> None:
    # Before 144.5; preserved 0.2 s x 109 = 21.8; after: 0.9 s at 114 on average = 102.6
    assert rank(100, 0, 9, pause_s=0.2, continues=True) == pytest.approx(144.5 + 21.8 + 102.6)


def test_a_long_call_is_ranked_as_discarded() -> None:
    # Before 144.5; computed again: 1.09 s at 54.5 = 59.405; after 102.6
    assert rank(100, 0, 9, pause_s=1000, continues=True) == pytest.approx(144.5 + 59.405 + 102.6)


def test_a_short_output_before_a_long_call_may_rank_behind_a_longer_one_without() -> None:
    assert rank(100, 0, 9, pause_s=1000, continues=True) > rank(100, 0, 20, pause_s=0, continues=False)
