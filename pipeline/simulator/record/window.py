"""The measured part of a run."""

import math
from dataclasses import dataclass

from ..errors import SimulationError


@dataclass(frozen=True, slots=True)
class Window:
    """From `start_s` to before `end_s`, virtual seconds."""

    start_s: float
    end_s: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.end_s) and 0 <= self.start_s < self.end_s):
            raise SimulationError(f"window: {self.start_s} to {self.end_s} s is empty; the end must follow the start")

    @property
    def length_s(self) -> float:
        return self.end_s - self.start_s

    def holds(self, time_s: float) -> bool:
        return self.start_s <= time_s < self.end_s

    def overlap_s(self, start_s: float, end_s: float) -> float:
        """Seconds of the window between two times."""
        return max(min(end_s, self.end_s) - max(start_s, self.start_s), 0.0)
