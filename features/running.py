"""Running statistics in constant memory: of one series, and of a bounded number of named ones."""

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

NAN = math.nan
RECENT = 0.1
HIGH = 0.9
HIGH_STEP = 0.2
FEW = 10  # values whose 0.9 quantile is their greatest
MAX_NAMES = 4096
"""Names come from callers; beyond so many, the one not seen for longest is forgotten."""

Key = TypeVar("Key", bound=Hashable)


@dataclass(slots=True)
class Running:
    """Count, last value, the one before, sum and greatest of a series; NaN while there is none."""

    count: int = 0
    last: float = NAN
    before_last: float = NAN
    total: float = 0.0
    greatest: float = NAN

    def add(self, value: float) -> None:
        self.greatest = value if not self.count or value > self.greatest else self.greatest
        self.before_last, self.last = self.last, value
        self.count += 1
        self.total += value

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else NAN


@dataclass(slots=True)
class RecentLog:
    """Recent mean of a positive series' logarithm, its mean absolute deviation from that mean, and its upper end: the
    running 0.9 quantile; NaN while empty.

    The quantile is the greatest value while there are few, then a stochastic approximation (Robbins and Monro, 1951)
    whose steps are in proportion to the spread: up by 0.9 of one where a value exceeds it, else down by 0.1."""

    count: int = 0
    mean: float = NAN
    spread: float = NAN  # NaN until there are two values
    high: float = NAN
    recent: float = RECENT  # weight of a new value, once 1 / recent values have been seen; before, all weigh alike

    def add(self, value: float, floor: float = 1e-6) -> None:
        log = math.log(max(value, floor))
        self.count += 1
        if self.count == 1:
            self.mean = self.high = log
            return
        weight = max(1 / self.count, self.recent)
        distance = log - self.mean
        self.spread = abs(distance) if self.count == 2 else self.spread + weight * (abs(distance) - self.spread)
        self.mean += weight * distance
        if log > self.high:
            self.high = log if self.count <= FEW else self.high + HIGH_STEP * HIGH * self.spread
        elif self.count > FEW:
            self.high -= HIGH_STEP * (1 - HIGH) * self.spread


UNSEEN = RecentLog()
"""Stands for a series without values; never added to."""


class RecentTable(Generic[Key]):
    """Recent logarithms by name, at most `MAX_NAMES` of them."""

    def __init__(self, max_names: int = MAX_NAMES) -> None:
        self._max_names = max_names
        self._series: dict[Key, RecentLog] = {}

    def __len__(self) -> int:
        return len(self._series)

    def of(self, key: Key) -> RecentLog:
        """Empty for a name not seen, or forgotten. Not to be added to."""
        return self._series.get(key, UNSEEN)

    def add(self, key: Key, value: float) -> None:
        series = self._series.pop(key, None)
        if series is None:
            series = RecentLog()
            if len(self._series) >= self._max_names:
                del self._series[next(iter(self._series))]
        self._series[key] = series  # at the end: a dict keeps the order of insertion
        series.add(value)
