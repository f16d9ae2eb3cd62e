"""Whether live turns, and the calls that may follow them, look like those that the models were trained on: the PSI of
each feature, a few at a time."""

import logging
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ...features.feature import Feature
from ...models.serving.drift import DriftReference, Histogram
from ...models.serving.onnx_predictor import TOOL_CALLS, TURNS

logger = logging.getLogger(f"vllm.{__name__}")

BATCH_ROWS = 256  # live rows that are compared at once
DECAY = 0.8  # weight of what was counted before, a batch: about the last 1,300 rows count
COLUMNS_A_STEP = 8  # features that one step looks at, so that no engine step waits for all: about 0.1 ms
ALARM_PSI = 0.25  # the usual bound of a major shift
ALARM_SHARE = 0.5  # of the features beyond it
DRIFTED_WIDTH = 1.25  # what intervals are then widened by at least


CALL_PREFIX = "tool_call."
"""Before the names of a tool call's features where drift is reported: some are a turn's, too."""
Report = Callable[[str, float], None]


class DriftMonitor:
    """Counts live rows into the bins of the training rows and compares.

    `report` is told a feature's name and its PSI. `drifted` holds while more than ALARM_SHARE of the features are
    beyond ALARM_PSI; the first time it is said in the log, of `what`.
    """

    def __init__(self, what: str, features: Sequence[Feature], histograms: Sequence[Histogram], report: Report) -> None:
        self._what = what
        self._names = [feature.name for feature in features]
        self._histograms = histograms
        self._report = report
        self._warned = False
        self.reset()

    def reset(self) -> None:
        """Forget the live rows."""
        self._rows: list[NDArray[np.float32]] = []
        self._batch: NDArray[np.float32] | None = None
        self._next = 0
        self._counts = [np.zeros(len(one.shares)) for one in self._histograms]
        self._psi = np.zeros(len(self._histograms))

    @property
    def drifted(self) -> bool:
        return bool(len(self._psi)) and float(np.mean(self._psi > ALARM_PSI)) > ALARM_SHARE

    def add(self, rows: Sequence[NDArray[np.float32]]) -> None:
        """Take live rows, each of shape (features,); while a batch is compared, further ones are left out."""
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
    """Of the features of turns, and of the tool calls that may follow them, whose names `report` gets with
    CALL_PREFIX."""

    def report_call(name: str, psi: float) -> None:
        report(CALL_PREFIX + name, psi)

    return (
        DriftMonitor("turns", TURNS.features, reference.histograms["turns"], report),
        DriftMonitor("tool calls", TOOL_CALLS.features, reference.histograms["tool_calls"], report_call),
    )
