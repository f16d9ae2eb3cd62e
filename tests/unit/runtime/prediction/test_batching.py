from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from augserve.runtime.metrics import Metrics
from augserve.runtime.prediction.batching import DEADLINE_S, Forecasting
from augserve.runtime.sessions.live_turn import Forecast, LiveTurn


class Counted:
    """Stands for the metrics."""

    def __init__(self) -> None:
        self.fallbacks: list[str] = []
        self.made = 0
        self.predictions = self
        self.fallback = self.fallbacks.append

    def inc(self) -> None:
        self.made += 1


class Turn:
    forecast: Forecast | None = None

    def __init__(self) -> None:
        self.request = self


class Known:
    """A forecaster with given answers, which may take its time."""

    def __init__(self, answers: Sequence[Forecast | None], wait: Callable[[], None] = lambda: None) -> None:
        self.answers = answers
        self.wait = wait

    def forecast(self, turns: Sequence[LiveTurn]) -> Sequence[Forecast | None]:
        self.wait()
        return self.answers[: len(turns)]


FORECAST = Forecast(10.0, 2.0, 1.0)


class Queue:
    """Stands for the waiting queue."""

    def __init__(self) -> None:
        self.refreshed: list[Any] = []
        self.refresh = self.refreshed.append


def make(forecaster: Any, clock: Callable[[], float] = lambda: 0.0) -> tuple[Forecasting, Counted, list[Any]]:
    counted, queue = Counted(), Queue()
    return Forecasting(forecaster, cast(Any, queue), cast(Metrics, counted), clock), counted, queue.refreshed


def test_each_turn_gets_its_forecast_and_a_missing_one_is_counted() -> None:
    forecasting, counted, refreshed = make(Known([FORECAST, None]))
    turns = [Turn(), Turn()]
    forecasting.predict(cast(list[LiveTurn], turns))
    assert [turn.forecast for turn in turns] == [FORECAST, None]
    assert (refreshed, counted.made, counted.fallbacks) == (turns[:1], 1, ["prediction"])


@pytest.mark.parametrize(("took_s", "slow"), [(0.9 * DEADLINE_S, False), (1.1 * DEADLINE_S, True)])
def test_a_late_answer_is_used_and_raises(took_s: float, slow: bool) -> None:
    now_s = [5.0]

    def wait() -> None:
        now_s[0] += took_s

    forecasting, _, refreshed = make(Known([FORECAST], wait), lambda: now_s[0])
    turn = Turn()
    if slow:
        with pytest.raises(TimeoutError):
            forecasting.predict(cast(list[LiveTurn], [turn]))
    else:
        forecasting.predict(cast(list[LiveTurn], [turn]))
    assert turn.forecast is FORECAST
    assert refreshed == [turn]


def test_a_forecaster_that_raises_leaves_the_turns_without_forecast() -> None:
    def wait() -> None:
        raise RuntimeError("broken")

    forecasting, counted, refreshed = make(Known([FORECAST], wait))
    with pytest.raises(RuntimeError, match="broken"):
        forecasting.predict(cast(list[LiveTurn], [Turn()]))
    assert (refreshed, counted.made) == ([], 0)
