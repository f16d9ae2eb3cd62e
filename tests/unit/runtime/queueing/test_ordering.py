import pytest

from augserve.runtime.queueing.ordering import remaining_output
from augserve.runtime.sessions.live_turn import Forecast

FORECAST = Forecast(100.0, 1.0, 1.0, (100.0 / 9, 900.0))  # log-logistic of scale 1: P(x > t) = 1 / (1 + t / 100)


def test_before_the_first_token_the_median_remains() -> None:
    assert remaining_output(FORECAST, 0, 1000) == 100.0


def test_the_rest_is_the_median_given_the_generated_tokens() -> None:
    """P(x > t | x > 100) = 1/2 at t = 300; P(x > t | x > 300) = 1/2 at t = 700."""
    assert remaining_output(FORECAST, 100, 1000) == pytest.approx(200.0, rel=1e-5)
    assert remaining_output(FORECAST, 300, 1000) == pytest.approx(400.0, rel=1e-5)


def test_the_rest_lies_between_one_token_and_the_limit() -> None:
    assert remaining_output(FORECAST, 300, 350) == 50.0
    assert remaining_output(FORECAST, 350, 350) == 1.0


def test_without_an_interval_the_forecast_counts_as_exact() -> None:
    exact = Forecast(100.0, 1.0, 1.0)
    assert remaining_output(exact, 40, 1000) == 60.0
    assert remaining_output(exact, 200, 1000) == 1.0
