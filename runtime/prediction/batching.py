"""Forecasts for the turns that have arrived: one batch before a step, and what is missing or too late is counted."""

from collections.abc import Callable

from ..metrics import Metrics
from ..sessions.live_turn import LiveTurn
from .forecaster import Forecaster

DEADLINE_S = 0.05
"""A batch that takes longer holds up a step for more than half a token's time: it counts as a failure."""
A_TURN_S = 1e-4
"""So much more for each turn: a burst is predicted at once, and is rare."""


class SlowPredictionError(RuntimeError):
    """The predictor answered, and took too long."""


class Forecasting:
    """Asks the forecaster for those who wait, on behalf of one scheduler."""

    def __init__(
        self,
        forecaster: Forecaster,
        metrics: Metrics,
        clock: Callable[[], float],
        predicted: Callable[[LiveTurn], None],
    ) -> None:
        """`predicted` is told of each turn that has got its forecast."""
        self._forecaster = forecaster
        self._metrics = metrics
        self._clock = clock
        self._predicted = predicted

    def predict(self, turns: list[LiveTurn]) -> None:
        """Raises what the forecaster raises; and SlowPredictionError where the answer came after the deadline, so that
        a predictor that is too slow three times in a row is not asked for a while. Its late answer is used."""
        began_s = self._clock()
        forecasts = self._forecaster.forecast(turns)
        took_s = self._clock() - began_s
        for live, forecast in zip(turns, forecasts, strict=True):
            if forecast is None:
                self._metrics.fallback("prediction")
            else:
                live.forecast = forecast
                self._metrics.predictions.inc()
                self._predicted(live)
        if took_s > (deadline_s := DEADLINE_S + A_TURN_S * len(turns)):
            raise SlowPredictionError(f"{len(turns)} turns took {took_s:.3f} s to predict, not {deadline_s:.3f} s")
