"""Forecasts of arriving turns: predicted in one batch, corrected by the outcomes of earlier predictions."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...features.session_history import call_key
from ...models.serving.predictor import Predictor, Rows
from ...models.serving.target import OUTPUT_LENGTH, SESSION_REMAINING
from ...models.serving.tool_tables import EXPECTED_DURATION
from ..sessions.live_turn import Forecast, LiveTurn
from ..sessions.table import Pause
from .correction import Correction, Report
from .drift import DRIFTED_WIDTH, DriftMonitor
from .predicted import Answer, Predicted, Tool, number_rows
from .recognition import Recognition

logger = logging.getLogger(f"vllm.{__name__}")

MAX_PREDICTED = 1 << 16
"""Sessions whose last turn's predictions await their outcome; beyond this number the oldest DROPPED are dropped."""
DROPPED = 256
MAX_TOOLS = 4096
"""Tools whose hashes are remembered; all are forgotten beyond this number."""

Row = NDArray[np.float32]  # one feature vector


class Reports(Protocol):
    """What a forecaster tells of itself."""

    def trained_coverage(self, coverage: Mapping[str, float]) -> None: ...

    def drift(self, feature: str, psi: float) -> None: ...

    def corrected(self, quantity: str, factor: float, coverage: float, width: float) -> None: ...

    def forecast_ratio(self, quantity: str, ratio: float) -> None: ...


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


class PredictorForecaster(Forecaster):
    """Medians and 80 % intervals of the bundle's predictors, blended with its tables and corrected online.

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
        self._tables = predictor.tables
        self._recognition = Recognition(predictor.tables)
        self._tools: dict[str | None, Tool] = {}
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
        tools = [self._tool(turns[index]) for index, _, _ in complete]
        known = np.array([tool.row for tool in tools])
        expected, pause = self._predictor.turns(_table(rows)), self._predictor.tool_duration(_table(calls))
        output = expected.output_length
        remaining = self._blended(SESSION_REMAINING.name, expected.session_remaining, known)[:, 1]
        blended_output = self._blended(OUTPUT_LENGTH.name, output, known)
        blended_pause = self._blended(EXPECTED_DURATION, pause, known)
        numbers = number_rows(output, blended_output, pause, blended_pause)
        answers = zip(blended_output.tolist(), remaining.tolist(), blended_pause.tolist(), strict=True)
        self._watch(rows, calls)
        invalid = 0
        for (index, _, _), tool, answer, row in zip(complete, tools, answers, numbers, strict=True):
            of_output, turns_left, of_pause = answer
            if all(math.isfinite(value) and value >= 0 for value in (*of_output, turns_left, *of_pause)):
                self._keep(turns[index].session_id, Predicted.pack(turns[index].turn, tool, row))
                forecasts[index] = self._corrected(tool.key, of_output, turns_left, of_pause)
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
            tokens = float(live.request.num_output_tokens)
            self._learn(self.output, OUTPUT_LENGTH.name, predicted.output, predicted.tool, tokens)
        self.output.report_to(self._report)

    def pause_ended(self, session_id: str, pause: Pause) -> None:
        predicted = self._predicted_of(session_id, pause.turn)
        if predicted is not None:
            del self._predicted[session_id]
            self._learn(self.pause, EXPECTED_DURATION, predicted.pause, predicted.tool, pause.duration_s)
        self.pause.report_to(self._report)

    def reset(self) -> None:
        """Forget all corrections, the tables chosen and the rows that drift is measured on."""
        self._predicted.clear()
        self._recognition.reset()
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

    def _tool(self, live: LiveTurn) -> Tool:
        # The same call as in `features.tool_call.expected_call`.
        tool = live.hints.calls[-1].tool if live.hints.calls else None
        if (known := self._tools.get(tool)) is None:
            if len(self._tools) >= MAX_TOOLS:
                self._tools.clear()
            key = None if tool is None else call_key(tool)
            known = self._tools[tool] = Tool(key, self._tables.row(tool))
        return known

    def _blended(self, table: str, predicted: Rows, rows: NDArray[np.int64]) -> Rows:
        return self._tables.blended(table, self._recognition.choice, predicted, rows)

    def _keep(self, session_id: str, packed: bytes) -> None:
        self._predicted.pop(session_id, None)
        self._predicted[session_id] = packed
        if len(self._predicted) > MAX_PREDICTED:
            for oldest in list(islice(self._predicted, DROPPED)):
                del self._predicted[oldest]

    def _corrected(self, tool: int | None, output: list[float], remaining: float, pause: list[float]) -> Forecast:
        output_low, output_tokens, output_high = self.output.corrected(output, tool)
        pause_low, pause_s, pause_high = self.pause.corrected(pause, tool)
        return Forecast(output_tokens, remaining, pause_s, (output_low, output_high), (pause_low, pause_high))

    def _learn(self, correction: Correction, table: str, answer: Answer, tool: Tool, actual: float) -> None:
        if (ratio := correction.observe(answer.blended, tool.key, actual)) is not None:
            self._recognition.observe(table, np.asarray(answer.forest, np.float32), tool.row, actual)
            self._outcome(correction.quantity, ratio)

    def _predicted_of(self, session_id: str, turn: int) -> Predicted | None:
        packed = self._predicted.get(session_id)
        predicted = None if packed is None else Predicted.unpack(packed)
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
