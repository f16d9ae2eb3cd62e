"""Drift of live turns and tool calls from the training data: the population stability index (PSI) of each feature."""

import logging
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ...features.feature import Feature
from ...models.serving.drift import DriftReference, Histogram
from ...models.serving.onnx_predictor import TOOL_CALLS, TURNS

logger = logging.getLogger(f"vllm.{__name__}")

BATCH_ROWS = 256  # live rows compared at once
DECAY = 0.8  # weight of earlier counts, a batch: about the last 1,300 rows count
COLUMNS_A_STEP = 8  # features compared in one step, which takes about 0.1 ms
ALARM_PSI = 0.25  # the usual bound of a major shift
ALARM_SHARE = 0.5  # share of features beyond ALARM_PSI
DRIFTED_WIDTH = 1.25  # least interval width after an alarm
CALL_PREFIX = "tool_call."
"""Prefix of a tool call's features in reports, for some share their name with a turn's."""
Report = Callable[[str, float], None]


class DriftMonitor:
    """Counts live rows into the bins of the training rows and compares the shares.

    `report` is called with a feature's name and its PSI. `drifted` is true while more than ALARM_SHARE of the features
    are beyond ALARM_PSI; the first time, a warning about `what` is logged.
    """

    def __init__(
        self, what: str, features: Sequence[Feature], histograms: Sequence[Histogram], report: Report, prefix: str = ""
    ) -> None:
        self._what = what
        self._names = [prefix + feature.name for feature in features]
        self._histograms = histograms
        self._report = report
        self._warned = False
        self.reset()

    def reset(self) -> None:
        """Forget the live rows."""
        self._rows: list[NDArray[np.float32]] = []
        self._batch: NDArray[np.float32] | None = None
        self._next = 0
        self._counts = [np.zeros(len(histogram.shares)) for histogram in self._histograms]
        self._psi = np.zeros(len(self._histograms))

    @property
    def drifted(self) -> bool:
        return bool(len(self._psi)) and float(np.mean(self._psi > ALARM_PSI)) > ALARM_SHARE

    def add(self, rows: Sequence[NDArray[np.float32]]) -> None:
        """Add live rows, each of shape (features,); rows that arrive during a comparison are skipped."""
        if self._batch is None:
            self._rows.extend(rows)
            if len(self._rows) >= BATCH_ROWS:
                self._batch, self._rows, self._next = np.stack(self._rows[:BATCH_ROWS]), [], 0
        else:
            self._compare(self._batch)

    def _compare(self, batch: NDArray[np.float32]) -> None:
        end = min(self._next + COLUMNS_A_STEP, len(self._histograms))
        for column in range(self._next, end):
            histogram, counts = self._histograms[column], self._counts[column]
            counts *= DECAY
            counts += np.bincount(histogram.bins(batch[:, column]), minlength=len(counts))
            self._psi[column] = histogram.psi(counts)
            self._report(self._names[column], float(self._psi[column]))
        self._next = end
        if end < len(self._histograms):
            return
        self._batch = None
        if self.drifted and not self._warned:
            self._warned = True
            logger.warning(
                "AugServe: %.0f %% of the features of %s have drifted from the training data (PSI above %.2f); their "
                "intervals are widened. Retrain on this server's traces: `make retrain TRACES=FOLDER`",
                100 * float(np.mean(self._psi > ALARM_PSI)),
                self._what,
                ALARM_PSI,
            )


def monitors(reference: DriftReference, report: Report) -> tuple[DriftMonitor, DriftMonitor]:
    """Monitors of turns and of the tool calls that may follow them; `report` gets call features with CALL_PREFIX."""
    turns = DriftMonitor("turns", TURNS.features, reference.histograms["turns"], report)
    calls = reference.histograms["tool_calls"]
    return turns, DriftMonitor("tool calls", TOOL_CALLS.features, calls, report, CALL_PREFIX)
