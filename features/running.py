"""Running statistics in constant memory, of one series or of a bounded number of named series."""

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

NAN = math.nan
RECENT = 0.1
HIGH = 0.9
HIGH_STEP = 0.2
FEW = 10  # of so few values, the greatest is the 0.9 quantile
MAX_NAMES = 4096
"""Bound on names, which callers choose. The least recently used name is forgotten first."""

Key = TypeVar("Key", bound=Hashable)


@dataclass(slots=True)
class Running:
    """Count, last two values, sum and greatest of a series; NaN before the first value."""

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
    """Running mean, mean absolute deviation and 0.9 quantile of the logarithms of a positive series; NaN while empty.

    The quantile is the greatest of the first FEW values, then a stochastic approximation (Robbins and Monro, 1951). Its
    step is proportional to the spread: 0.9 steps up if a value exceeds it, else 0.1 steps down.
    """

    count: int = 0
    mean: float = NAN
    spread: float = NAN  # NaN until there are two values
    high: float = NAN
    recent: float = RECENT  # weight of a new value; the first 1 / recent values weigh equally

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
"""An empty series; nothing is ever added to it."""


class RecentTable(Generic[Key]):
    """A RecentLog per name, for at most `max_names` names."""

    def __init__(self, max_names: int = MAX_NAMES) -> None:
        self._max_names = max_names
        self._series: dict[Key, RecentLog] = {}

    def __len__(self) -> int:
        return len(self._series)

    def of(self, key: Key) -> RecentLog:
        """The series of a name, UNSEEN for an unknown or forgotten one. Do not add to it."""
        return self._series.get(key, UNSEEN)

    def add(self, key: Key, value: float) -> None:
        series = self._series.pop(key, None)
        if series is None:
            series = RecentLog()
            if len(self._series) >= self._max_names:
                del self._series[next(iter(self._series))]
        self._series[key] = series  # at the end: dicts keep the order of insertion
        series.add(value)
