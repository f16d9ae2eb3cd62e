"""The phases of a simulation."""

from dataclasses import dataclass

from ..record.window import Window


@dataclass(frozen=True, slots=True)
class Schedule:
    """Phases of a simulation, seconds. Metrics cover the window; sessions arrive until the end."""

    warmup_s: float
    window_s: float
    drain_s: float  # lets the last turns of the window finish

    @property
    def window(self) -> Window:
        return Window(self.warmup_s, self.warmup_s + self.window_s)

    @property
    def end_s(self) -> float:
        return self.warmup_s + self.window_s + self.drain_s
