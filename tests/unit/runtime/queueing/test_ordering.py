import pytest

from augserve.runtime.queueing.ordering import remaining_output
from augserve.runtime.sessions.live_turn import Forecast

FORECAST = Forecast(100.0, 1.0, 1.0, (100.0 / 9, 900.0))  # log-logistic of scale 1: P(x > t) = 1 / (1 + t / 100)


def test_an_output_that_has_not_begun_has_its_median_ahead() -> None:
    assert remaining_output(FORECAST, 0, 1000) == 100.0


def test_what_is_left_is_the_median_given_what_is_generated() -> None:
    """P(x > t | x > 100) = 1/2 at t = 300; P(x > t | x > 300) = 1/2 at t = 700."""
    assert remaining_output(FORECAST, 100, 1000) == pytest.approx(200.0, rel=1e-5)
    assert remaining_output(FORECAST, 300, 1000) == pytest.approx(400.0, rel=1e-5)


def test_the_limit_bounds_it_and_one_token_is_the_least() -> None:
    assert remaining_output(FORECAST, 300, 350) == 50.0
    assert remaining_output(FORECAST, 350, 350) == 1.0


def test_without_an_interval_the_forecast_is_taken_as_the_length() -> None:
    known = Forecast(100.0, 1.0, 1.0)
    assert remaining_output(known, 40, 1000) == 60.0
    assert remaining_output(known, 200, 1000) == 1.0
