"""Forecasts of arriving turns: predicted in one batch, corrected by the outcomes of earlier predictions."""

import logging
import math
import struct
from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ...features.session_history import call_key
from ...models.serving.predictor import Predictor, Rows
from ..sessions.live_turn import Forecast, LiveTurn
from ..sessions.table import Pause
from .correction import Correction, Report
from .drift import DRIFTED_WIDTH, DriftMonitor

logger = logging.getLogger(f"vllm.{__name__}")

MAX_PREDICTED = 1 << 16
"""Sessions whose last turn's predictions await their outcome; beyond this number the oldest DROPPED are dropped."""
DROPPED = 256

Row = NDArray[np.float32]  # one feature vector


class Forecaster:
    """Predicts nothing and learns nothing. Subclasses predict."""

    def forecast(self, turns: Sequence[LiveTurn]) -> Sequence[Forecast | None]:
        """One forecast a turn, or None. Raises what the predictor raises."""
        return [None] * len(turns)

    def turn_ended(self, live: LiveTurn, reason: str) -> None:
        """Learn from the output of a turn. `reason`: its finish reason."""

    def pause_ended(self, session_id: str, pause: Pause) -> None:
        """Learn from the pause after a turn of the session."""

    def reset(self) -> None:
        """Forget everything learned."""

    @property
    def drifted(self) -> bool:
        """Whether most features have drifted from those of the training."""
        return False


class _Predicted(NamedTuple):
    """The models' answer for a turn, kept until its outcome."""

    turn: int
    output: Sequence[float]  # p10, p50, p90, tokens
    pause: Sequence[float]  # s
    tool: int | None  # its `call_key`

    def pack(self) -> bytes:
        """One object, which the garbage collector need not visit."""
        tool = (False, 0) if self.tool is None else (True, self.tool)
        return _NUMBERS.pack(self.turn, *tool, *self.output, *self.pause)

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        turn, is_known, tool, *quantiles = _NUMBERS.unpack(packed)
        return cls(turn, quantiles[:3], quantiles[3:], tool if is_known else None)


_NUMBERS = struct.Struct("<q?q6d")


class PredictorForecaster(Forecaster):
    """Medians and 80 % intervals of the bundle's predictors, corrected online.

    A turn without features has no forecast, nor has one whose answer is not finite; the first such answer is logged.
    """

    def __init__(
        self,
        predictor: Predictor,
        turn_drift: DriftMonitor | None = None,
        call_drift: DriftMonitor | None = None,
        report: Report = lambda *_: None,
        outcome: Callable[[str, float], None] = lambda *_: None,
    ) -> None:
        """`turn_drift` and `call_drift` watch the predicted rows. `report` is called after each change of a
        correction, `outcome` with a quantity and its actual value over the forecast's median."""
        self._predictor = predictor
        self._turn_drift = turn_drift
        self._call_drift = call_drift
        self._report = report
        self._outcome = outcome
        self._warned = False
        self._predicted: dict[str, bytes] = {}  # of each session's last turn, the oldest first
        self.output = Correction("output length")
        self.pause = Correction("tool duration")

    def forecast(self, turns: Sequence[LiveTurn]) -> list[Forecast | None]:
        complete = [
            (index, turn.features, turn.pause_features)
            for index, turn in enumerate(turns)
            if turn.features is not None and turn.pause_features is not None
        ]
        forecasts: list[Forecast | None] = [None] * len(turns)
        if not complete:
            return forecasts
        rows, calls = [features for _, features, _ in complete], [features for _, _, features in complete]
        expected = self._predictor.turns(_table(rows))
        answers = zip(
            expected.output_length.tolist(),
            expected.session_remaining[:, 1].tolist(),
            self._predictor.tool_duration(_table(calls)).tolist(),
            strict=True,
        )
        self._watch(rows, calls)
        invalid = 0
        for (index, _, _), (output, remaining, pause) in zip(complete, answers, strict=True):
            if all(math.isfinite(value) and value >= 0 for value in (*output, remaining, *pause)):
                forecasts[index] = self._corrected(turns[index], output, remaining, pause)
            else:
                invalid += 1
        if invalid and not self._warned:
            self._warned = True
            logger.warning(
                "AugServe: the models' answer for %d of %d turns is negative or not finite, so these turns have no "
                "forecast; export the models again (`dvc repro export`) and deploy the new bundle",
                invalid,
                len(complete),
            )
        return forecasts

    def turn_ended(self, live: LiveTurn, reason: str) -> None:
        """Learn from a turn that stopped by itself; a truncated output says too little."""
        predicted = self._predicted_of(live.session_id, live.turn)
        if predicted is not None and reason == "stop":
            self._learn(self.output, predicted.output, predicted.tool, float(live.request.num_output_tokens))
        self.output.report_to(self._report)

    def pause_ended(self, session_id: str, pause: Pause) -> None:
        predicted = self._predicted_of(session_id, pause.turn)
        if predicted is not None:
            del self._predicted[session_id]
            self._learn(self.pause, predicted.pause, predicted.tool, pause.duration_s)
        self.pause.report_to(self._report)

    def reset(self) -> None:
        """Forget all corrections and the rows that drift is measured on."""
        self._predicted.clear()
        self._warned = False
        for drift in (self._turn_drift, self._call_drift):
            if drift is not None:
                drift.reset()
        for correction in (self.output, self.pause):
            correction.reset()
            correction.report_to(self._report)

    @property
    def drifted(self) -> bool:
        return any(drift is not None and drift.drifted for drift in (self._turn_drift, self._call_drift))

    def _corrected(self, live: LiveTurn, output: list[float], remaining: float, pause: list[float]) -> Forecast:
        # The same call as in `features.tool_call.expected_call`.
        tool = call_key(live.hints.calls[-1].tool) if live.hints.calls else None
        self._predicted.pop(live.session_id, None)
        self._predicted[live.session_id] = _Predicted(live.turn, output, pause, tool).pack()
        if len(self._predicted) > MAX_PREDICTED:
            for session_id in list(islice(self._predicted, DROPPED)):
                del self._predicted[session_id]
        output_low, output_tokens, output_high = self.output.corrected(output, tool)
        pause_low, pause_s, pause_high = self.pause.corrected(pause, tool)
        return Forecast(output_tokens, remaining, pause_s, (output_low, output_high), (pause_low, pause_high))

    def _learn(self, correction: Correction, quantiles: Sequence[float], tool: int | None, actual: float) -> None:
        if (ratio := correction.observe(quantiles, tool, actual)) is not None:
            self._outcome(correction.quantity, ratio)

    def _predicted_of(self, session_id: str, turn: int) -> _Predicted | None:
        packed = self._predicted.get(session_id)
        predicted = None if packed is None else _Predicted.unpack(packed)
        return predicted if predicted is not None and predicted.turn == turn else None

    def _watch(self, rows: Sequence[Row], calls: Sequence[Row]) -> None:
        """Drifted features widen the intervals that are predicted from them."""
        for drift, live, correction in ((self._turn_drift, rows, self.output), (self._call_drift, calls, self.pause)):
            if drift is not None:
                drift.add(live)
                correction.least_width = DRIFTED_WIDTH if drift.drifted else 1.0


def _table(rows: Sequence[Row]) -> Rows:
    """Rows stacked, shape (n, features): as `np.stack`, in a third of its time."""
    return np.concatenate(rows).reshape(len(rows), -1)
