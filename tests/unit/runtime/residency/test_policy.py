import dataclasses

import pytest

from augserve.models.serving.settings import Retention, SchedulerSettings, StepTime
from augserve.runtime.residency.policy import ContextPolicy, expected_rest_s
from augserve.runtime.sessions.live_turn import Forecast

STEP = StepTime(base_s=0.01, per_prefill_token_s=1e-4, per_decode_s=0.0, per_context_token_s=0.0)
SETTINGS = SchedulerSettings(step_time=STEP, retention=Retention(max_share=0.5, ttl_factor=2.0, min_tokens=100))
POLICY = ContextPolicy(SETTINGS)


def forecast(pause_s: float, remaining_turns: float = 3.0) -> Forecast:
    return Forecast(output_tokens=10.0, remaining_turns=remaining_turns, pause_s=pause_s)


def test_waste_is_the_ratio_of_preserving_to_discarding() -> None:
    # T_fwd(900) = 0.01 + 0.09 = 0.1 s; discard: 0.1 * (900 + 3100) = 400; preserve: 2 * 900 = 1800 token·s
    assert POLICY.waste(2.0, 0.0, 900, 3100.0) == pytest.approx(1800 / 400)


@pytest.mark.parametrize(("pause_s", "pinned"), [(0.4, True), (0.5, False)])
def test_a_context_is_pinned_where_preserving_wastes_less(pause_s: float, pinned: bool) -> None:
    # Both are equal at 400 / 900 = 0.444 s.
    assert POLICY.is_worth_pinning(forecast(pause_s), 900, 3100.0) is pinned


@pytest.mark.parametrize(("remaining_turns", "tokens"), [(1.0, 900), (1.4, 900), (3.0, 99)])
def test_neither_an_ending_session_nor_a_short_context_is_pinned(remaining_turns: float, tokens: int) -> None:
    assert not POLICY.is_worth_pinning(forecast(0.1, remaining_turns), tokens, 1e6)


def test_a_pause_that_outlasts_its_forecast_is_expected_to_last_as_long_again() -> None:
    assert expected_rest_s(4.0, 1.0) == 3.0
    assert expected_rest_s(4.0, 6.0) == 6.0


def test_time_to_live_and_share_follow_the_settings() -> None:
    assert POLICY.time_to_live_s(3.0) == 6.0
    assert POLICY.max_blocks(101) == 50
    off = ContextPolicy(dataclasses.replace(SETTINGS, retention=Retention(max_share=0.0)))
    assert off.max_blocks(101) == 0
