"""Online correction of predictions by their recent errors, per tool and overall.

The models do not change while a server runs, but their errors do. Each prediction is multiplied by a running median of
actual / predicted, and its interval is widened until its coverage is right (adaptive conformal inference, Gibbs and
Candès 2021, on log scale).
"""

import logging
import math
from collections.abc import Callable, Hashable, Sequence

from ...features.running import BoundedTable

logger = logging.getLogger(f"vllm.{__name__}")

COVERAGE = 0.8  # target coverage of the interval from p10 to p90
STEP = 0.05  # weight of a new ratio after 1 / STEP ratios; before, all weigh the same
CLIP = 0.5  # a ratio further off counts as this far, which keeps the running mean of logs near their median
PRIOR = 20.0  # number of observations that are applied by half
LIMIT = math.log(4.0)  # bound on a correction: a factor of 4
WIDEN_STEP = 0.02  # learning rate of the interval's width
MAX_WIDTH = 4.0
ALARM_WIDTH = 1.5  # a wider interval is logged, once
Report = Callable[[str, float, float, float], None]
"""Quantity, overall factor, coverage and interval width of a correction."""


class _Ratio:
    """Running location of log(actual / predicted): Huber's, which is robust to a few extremes."""

    __slots__ = ("count", "log")

    def __init__(self) -> None:
        self.count = 0
        self.log = 0.0

    def add(self, log_ratio: float) -> None:
        self.count += 1
        distance = min(max(log_ratio - self.log, -CLIP), CLIP)
        self.log += max(1 / self.count, STEP) * distance

    def shrunk_to(self, prior: float) -> float:
        return (self.count * self.log + PRIOR * prior) / (self.count + PRIOR)


class Correction:
    """Correction of one predicted quantity: a factor by name (a tool), one overall, and the width of its intervals.

    All corrections are bounded. An observation costs about 1 µs.
    """

    def __init__(self, quantity: str) -> None:
        self.quantity = quantity
        self.least_width = 1.0  # raised when features drift
        self.reset()

    def reset(self) -> None:
        """Forget all observations: the models' answers stay as they are."""
        self._all = _Ratio()
        self._by_name: BoundedTable[Hashable, _Ratio] = BoundedTable(_Ratio)
        self._width = 1.0
        self._warned = False
        self.observed = 0
        self.coverage = math.nan  # recent share of actual values within their widened intervals; NaN: none yet

    @property
    def width(self) -> float:
        """Factor on an interval's width on log scale, at least 1."""
        return max(self._width, self.least_width)

    @property
    def overall(self) -> float:
        """The factor for an unknown name."""
        return self.factor(None)

    def factor(self, name: Hashable | None) -> float:
        """The factor on a prediction for `name`."""
        log = self._all.shrunk_to(0.0)
        by_name = None if name is None else self._by_name.get(name)
        if by_name is not None:
            log = by_name.shrunk_to(log)
        return math.exp(min(max(log, -LIMIT), LIMIT))

    def corrected(self, quantiles: Sequence[float], name: Hashable | None) -> tuple[float, float, float]:
        """p10, p50 and p90 of the models, corrected and widened about the median."""
        low, median, high = quantiles
        factor, width = self.factor(name), self.width
        if not 0 < low <= median <= high < math.inf:
            return low * factor, median * factor, high * factor
        return (
            median * (low / median) ** width * factor,
            median * factor,
            median * min((high / median) ** width, 1e6) * factor,
        )

    def observe(self, quantiles: Sequence[float], name: Hashable | None, actual: float) -> float | None:
        """Learn from the outcome of a prediction; `quantiles` are the models' own.

        Returns the actual value over the corrected median; None where either is no positive number.
        """
        median = quantiles[1]
        if not (0 < median < math.inf and 0 < actual < math.inf):
            return None
        low, predicted, high = self.corrected(quantiles, name)  # as it was predicted, before learning
        self._note_interval(low <= actual <= high)
        log_ratio = math.log(actual / median)
        self._all.add(log_ratio)
        if name is not None:
            self._by_name.use(name).add(log_ratio)
        return actual / predicted

    def report_to(self, report: Report) -> None:
        report(self.quantity, self.overall, self.coverage, self.width)

    def _note_interval(self, held: bool) -> None:
        self.observed += 1
        weight = max(1 / self.observed, WIDEN_STEP)
        self.coverage = float(held) if self.observed == 1 else self.coverage + weight * (held - self.coverage)
        # A miss widens four times as much as a hit narrows, so that the balance is at COVERAGE.
        change = (COVERAGE - held) * WIDEN_STEP
        self._width = min(max(self._width * math.exp(change), 1.0), MAX_WIDTH)
        if self._width > ALARM_WIDTH and not self._warned:
            self._warned = True
            logger.warning(
                "AugServe: %s is predicted worse than in training (%.0f %% of the 80 %% intervals hold); they are "
                "widened. Retrain on this server's traces: `make retrain TRACES=FOLDER`",
                self.quantity,
                100 * self.coverage,
            )
