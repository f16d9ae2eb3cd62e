"""What is expected of the turns that have arrived: all of them predicted in one batch, corrected by what came of
earlier predictions."""

import logging
import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ...models.serving.predictor import Predictor, Rows
from ..sessions.live_turn import Forecast, LiveTurn
from .correction import Correction
from .drift import DRIFTED_WIDTH, DriftMonitor

logger = logging.getLogger(f"vllm.{__name__}")

FALLBACK_OUTPUT_TOKENS = 256
FALLBACK = Forecast(output_tokens=FALLBACK_OUTPUT_TOKENS, remaining_turns=1.0, pause_s=1.0)
"""Stands in where no prediction is to be had: a middling answer that ends its session."""
MAX_PREDICTED = 100_000
"""Turns whose outcome is awaited; beyond so many, the oldest is no longer."""

Row = NDArray[np.float32]  # one feature vector


class Forecaster(Protocol):
    def forecast(self, turns: Sequence[LiveTurn]) -> Sequence[Forecast | None]:
        """One forecast a turn; None where there is none. Raises what the predictor raises."""
        ...


class _Predicted(NamedTuple):
    """What the models said of a turn, and for which tool: its outcome is compared with it."""

    output: Sequence[float]  # p10, p50, p90, tokens
    pause: Sequence[float]  # s
    tool: str | None


class PredictorForecaster:
    """Medians and 80 % intervals of the bundle's predictors, corrected online; a turn without features, or with an
    answer that is no number, has none: the first such answer is said in the log."""

    def __init__(
        self, predictor: Predictor, turn_drift: DriftMonitor | None = None, call_drift: DriftMonitor | None = None
    ) -> None:
        """`turn_drift` and `call_drift` watch the rows that are predicted; None: nothing does."""
        self._predictor = predictor
        self._turn_drift = turn_drift
        self._call_drift = call_drift
        self._warned = False
        self._predicted: OrderedDict[tuple[str, int], _Predicted] = OrderedDict()  # by session and turn
        self.output = Correction("output length")
        self.pause = Correction("tool duration")

    def forecast(self, turns: Sequence[LiveTurn]) -> list[Forecast | None]:
        known = [
            (index, turn.features, turn.pause_features)
            for index, turn in enumerate(turns)
            if turn.features is not None and turn.pause_features is not None
        ]
        forecasts: list[Forecast | None] = [None] * len(turns)
        if not known:
            return forecasts
        rows, calls = [features for _, features, _ in known], [features for _, _, features in known]
        expected = self._predictor.turns(_table(rows))
        answers = zip(
            expected.output_length.tolist(),
            expected.session_remaining[:, 1].tolist(),
            self._predictor.tool_duration(_table(calls)).tolist(),
            strict=True,
        )
        self._watch(rows, calls)
        bad = 0
        for (index, _, _), (output, remaining, pause) in zip(known, answers, strict=True):
            if all(math.isfinite(part) and part >= 0 for part in (*output, remaining, *pause)):
                forecasts[index] = self._corrected(turns[index], output, remaining, pause)
            else:
                bad += 1
        if bad and not self._warned:
            self._warned = True
            logger.warning(
                "AugServe: the models' answer is no positive number for %d of %d turns: such turns go without a "
                "forecast; export the models again (`dvc repro export`) and deploy the new bundle",
                bad,
                len(known),
            )
        return forecasts

    def turn_finished(self, live: LiveTurn, reason: str) -> None:
        """Learn from the output of a turn that ended by itself; one that was cut says too little."""
        predicted = self._predicted.get((live.session_id, live.turn))
        if predicted is not None and reason == "stop":
            self.output.observe(predicted.output, predicted.tool, float(live.request.num_output_tokens))

    def pause_ended(self, session_id: str, turn: int, duration_s: float) -> None:
        """Learn from the pause that followed a turn."""
        predicted = self._predicted.pop((session_id, turn), None)
        if predicted is not None:
            self.pause.observe(predicted.pause, predicted.tool, duration_s)

    def reset(self) -> None:
        """Forget all corrections, and the rows that drift is told from."""
        self._predicted.clear()
        self._warned = False
        for correction in (self.output, self.pause):
            correction.reset()
        for drift in (self._turn_drift, self._call_drift):
            if drift is not None:
                drift.reset()

    def _corrected(self, live: LiveTurn, output: list[float], remaining: float, pause: list[float]) -> Forecast:
        tool = live.hints.calls[-1].tool if live.hints.calls else None  # as in `features.tool_call.expected_call`
        self._predicted[live.session_id, live.turn] = _Predicted(output, pause, tool)
        if len(self._predicted) > MAX_PREDICTED:
            self._predicted.popitem(last=False)
        output_low, output_tokens, output_high = self.output.corrected(output, tool)
        pause_low, pause_s, pause_high = self.pause.corrected(pause, tool)
        return Forecast(output_tokens, remaining, pause_s, (output_low, output_high), (pause_low, pause_high))

    def _watch(self, rows: Sequence[Row], calls: Sequence[Row]) -> None:
        """Drift widens the intervals of what is predicted from the features that drifted."""
        for drift, live, correction in ((self._turn_drift, rows, self.output), (self._call_drift, calls, self.pause)):
            if drift is not None:
                drift.add(live)
                correction.least_width = DRIFTED_WIDTH if drift.drifted else 1.0


def _table(rows: Sequence[Row]) -> Rows:
    """Rows of one width, one below the other: as `np.stack`, in a third of its time."""
    return np.concatenate(rows).reshape(len(rows), -1)
