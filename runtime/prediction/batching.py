"""Predicts the arrived turns in one batch before a step, and counts missing and late predictions."""

from collections.abc import Callable

from ..metrics import Metrics
from ..queueing.waiting_queue import WaitingQueue
from ..sessions.live_turn import LiveTurn
from .forecaster import Forecaster

DEADLINE_S = 0.05
"""A batch that takes longer delays a step by more than half a token's time, so it counts as a failure."""
TURN_DEADLINE_S = 1e-4
"""Added to the deadline for each turn: a burst is rare and is predicted at once."""


class Forecasting:
    """Collects the turns that arrive, predicts them, and updates their rows in the waiting queue."""

    def __init__(
        self, forecaster: Forecaster, queue: WaitingQueue, metrics: Metrics, clock: Callable[[], float]
    ) -> None:
        self._arrived: list[LiveTurn] = []
        self._forecaster = forecaster
        self._queue = queue
        self._metrics = metrics
        self._clock = clock

    def turn_arrived(self, live: LiveTurn) -> None:
        if live.features is not None:  # a pooling request generates nothing that could be predicted
            self._arrived.append(live)

    def take_arrived(self) -> list[LiveTurn]:
        """The turns that have arrived since the last call."""
        turns, self._arrived = self._arrived, []
        return turns

    def predict(self, turns: list[LiveTurn]) -> None:
        """Predict turns. Raises what the forecaster raises, and TimeoutError after the deadline.

        A late answer is used all the same; the error makes the guard suspend a predictor that is slow three times in a
        row.
        """
        start_s = self._clock()
        forecasts = self._forecaster.forecast(turns)
        took_s = self._clock() - start_s
        for live, forecast in zip(turns, forecasts, strict=True):
            if forecast is None:
                self._metrics.fallback("prediction")
            else:
                live.forecast = forecast
                self._metrics.predictions.inc()
                self._queue.refresh(live.request)
        if took_s > (deadline_s := DEADLINE_S + TURN_DEADLINE_S * len(turns)):
            raise TimeoutError(f"{len(turns)} turns took {took_s:.3f} s to predict, not {deadline_s:.3f} s")
