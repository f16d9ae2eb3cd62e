"""What is expected of the turns that have arrived: all of them predicted in one batch."""

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ..models.predictor import Predictor
from .turns import Forecast, LiveTurn

FALLBACK_OUTPUT_TOKENS = 256
FALLBACK = Forecast(output_tokens=FALLBACK_OUTPUT_TOKENS, remaining_turns=1.0, pause_s=1.0)
"""Stands in where no prediction is to be had: a middling answer that ends its session."""

_MEDIAN = 1  # of p10, p50, p90


class Forecaster(Protocol):
    def forecast(self, turns: Sequence[LiveTurn]) -> Sequence[Forecast | None]:
        """One forecast a turn; None where there is none. Raises what the predictor raises."""
        ...


class PredictorForecaster:
    """Medians of the bundle's predictors; a turn without features, or with an answer that is no number, has none."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def forecast(self, turns: Sequence[LiveTurn]) -> list[Forecast | None]:
        known = [
            (index, turn.features, turn.pause_features)
            for index, turn in enumerate(turns)
            if turn.features is not None and turn.pause_features is not None
        ]
        forecasts: list[Forecast | None] = [None] * len(turns)
        if not known:
            return forecasts
        rows = np.stack([features for _, features, _ in known])
        pauses = np.stack([features for _, _, features in known])
        expected = self._predictor.turns(rows)
        answers = zip(
            expected.output_length[:, _MEDIAN].tolist(),
            expected.session_remaining[:, _MEDIAN].tolist(),
            self._predictor.tool_duration(pauses)[:, _MEDIAN].tolist(),
            strict=True,
        )
        for (index, _, _), answer in zip(known, answers, strict=True):
            if all(math.isfinite(part) and part >= 0 for part in answer):
                forecasts[index] = Forecast(*answer)
        return forecasts
