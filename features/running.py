"""Running statistics in constant memory, of one series or of a bounded number of named series."""

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

NAN = math.nan
RECENT = 0.1
HIGH = 0.9
HIGH_STEP = 0.2
FEW = 10  # of so few values, the greatest is the 0.9 quantile
MAX_NAMES = 4096
"""Bound on names, which callers choose."""

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


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


class BoundedTable(Generic[Key, Value]):
    """A value per name, for at most `max_names` names.

    Where a new name finds the table full, the oldest of the names that were used once gives way, as long as they take a
    quarter of the table; otherwise the least recently used of the others. So made-up names displace each other.
    """

    def __init__(self, new: Callable[[], Value], max_names: int = MAX_NAMES) -> None:
        self._new = new
        self._max_names = max_names
        self._once: dict[Key, Value] = {}  # dicts keep the order of insertion
        self._often: dict[Key, Value] = {}

    def __len__(self) -> int:
        return len(self._once) + len(self._often)

    def get(self, key: Key) -> Value | None:
        value = self._often.get(key)
        return self._once.get(key) if value is None else value

    def use(self, key: Key) -> Value:
        """The name's value, a new one for an unknown or forgotten name."""
        value = self._often.pop(key, None)
        if value is None:
            value = self._once.pop(key, None)
        if value is not None:
            self._often[key] = value
            return value
        if len(self) >= self._max_names:
            full = self._once if len(self._once) >= max(self._max_names // 4, 1) else self._often
            del full[next(iter(full))]
        value = self._once[key] = self._new()
        return value


class RecentTable(Generic[Key]):
    """A RecentLog per name, for at most `max_names` names."""

    def __init__(self, max_names: int = MAX_NAMES) -> None:
        self._series: BoundedTable[Key, RecentLog] = BoundedTable(RecentLog, max_names)

    def __len__(self) -> int:
        return len(self._series)

    def of(self, key: Key) -> RecentLog:
        """The series of a name, UNSEEN for an unknown or forgotten one. Do not add to it."""
        return self._series.get(key) or UNSEEN

    def add(self, key: Key, value: float) -> None:
        self._series.use(key).add(value)
