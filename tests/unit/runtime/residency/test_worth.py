import pytest

from augserve.models.serving.settings import Residency, SchedulerSettings, StepTime
from augserve.runtime.residency.worth import ContextWorth, admitted_share, expected_rest_s, restore_cost
from augserve.runtime.sessions.live_turn import Forecast

STEP = StepTime(base_s=0.01, per_prefill_token_s=1e-4, per_decode_s=0.0, per_context_token_s=0.0)
WORTH = ContextWorth(SchedulerSettings(step_time=STEP, residency=Residency(keep=2.0)), 9000)


def test_a_context_lasts_until_its_share_of_memory_times_the_pause_is_the_kept_multiple_of_its_prefill() -> None:
    # T_fwd(900) = 0.01 + 0.09 = 0.1 s; a tenth of the cache for 2 s costs 0.2 s = 2 * 0.1 s
    assert WORTH.lasts_s(900) == pytest.approx(2.0)


def test_restoring_a_context_costs_the_time_to_load_it_where_the_bandwidth_of_host_memory_is_known() -> None:
    loading = StepTime(base_s=0.01, per_prefill_token_s=1e-4, per_loaded_token_s=1e-5)
    assert restore_cost(loading, loads=True) == pytest.approx(0.1)
    assert restore_cost(loading, loads=False) == restore_cost(STEP, loads=True) == 1.0


def test_the_attention_of_a_long_context_makes_it_last_longer() -> None:
    step = StepTime(base_s=0.01, per_prefill_token_s=1e-4, per_pair_s=1e-6)
    worth = ContextWorth(SchedulerSettings(step_time=step, residency=Residency(keep=2.0)), 9000)
    # T_fwd(900) = 0.1 s + 1e-6 s * 900^2 / 2 pairs = 0.505 s
    assert worth.lasts_s(900) == pytest.approx(10.1)


def test_the_cheaper_a_context_is_restored_the_sooner_it_may_leave_and_the_less_is_left_for_growth() -> None:
    loading = StepTime(base_s=0.01, per_prefill_token_s=1e-4, per_loaded_token_s=1e-5, per_pair_s=1e-6)
    settings = SchedulerSettings(step_time=loading, residency=Residency(keep=2.0))
    assert ContextWorth(settings, 9000, loads=True).lasts_s(900) == pytest.approx(0.18)
    assert admitted_share(0.8, 0.1) == pytest.approx(0.98)
    assert admitted_share(0.0, 0.1) == 0.0


def test_waste_is_memory_times_the_rest_of_the_pause_over_the_prefill() -> None:
    assert WORTH.waste(3.0, 1.0, 900) == pytest.approx(2.0 * 900 / 0.1)


@pytest.mark.parametrize(("remaining_turns", "continues"), [(1.0, False), (1.4, False), (1.5, True), (3.0, True)])
def test_a_session_continues_if_another_turn_is_expected(remaining_turns: float, continues: bool) -> None:
    assert WORTH.continues(Forecast(10.0, remaining_turns, 1.0)) is continues


def test_a_session_without_a_forecast_continues() -> None:
    assert WORTH.continues(None)


def test_a_pause_that_outlasts_its_forecast_is_expected_to_last_as_long_again() -> None:
    assert expected_rest_s(4.0, 1.0) == 3.0
    assert expected_rest_s(4.0, 6.0) == 6.0
