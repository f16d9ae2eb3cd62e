"""Durations by tool, as log histograms: quantiles within 1 % in bounded memory."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

_GROWTH = math.log(1.02)  # a bin's width: its middle is within 1 % of all that fell into it
_ZERO = -(10**6)  # the bin of durations below a nanosecond
_TOOLS = 1000  # tools that are told apart, so that odd input cannot fill the memory
_OTHER = "(other tools)"


@dataclass(frozen=True, slots=True)
class Durations:
    """`p50_s` and `p90_s` within 1 %; `max_s` is exact."""

    count: int
    p50_s: float
    p90_s: float
    max_s: float


class DurationHistograms:
    def __init__(self) -> None:
        self._bins: dict[str, Counter[int]] = {}
        self._max_s: dict[str, float] = {}

    def add(self, tool: str, duration_s: float) -> None:
        if tool not in self._bins and len(self._bins) >= _TOOLS:
            tool = _OTHER
        place = round(math.log(duration_s) / _GROWTH) if duration_s > 1e-9 else _ZERO
        self._bins.setdefault(tool, Counter())[place] += 1
        self._max_s[tool] = max(self._max_s.get(tool, 0.0), duration_s)

    def durations(self) -> Mapping[str, Durations]:
        """By tool, the most frequent first."""
        ordered = sorted(self._bins, key=lambda tool: (-self._bins[tool].total(), tool))
        return {tool: self._of(tool) for tool in ordered}

    def _of(self, tool: str) -> Durations:
        return Durations(
            self._bins[tool].total(), self._quantile_s(tool, 0.5), self._quantile_s(tool, 0.9), self._max_s[tool]
        )

    def _quantile_s(self, tool: str, level: float) -> float:
        """The smallest duration that at least `level` of the calls do not exceed."""
        left = math.ceil(level * self._bins[tool].total())
        for place in sorted(self._bins[tool]):
            left -= self._bins[tool][place]
            if left <= 0:
                break
        return 0.0 if place == _ZERO else min(math.exp(place * _GROWTH), self._max_s[tool])
