"""Virtual time."""


class VirtualClock:
    """Seconds since the simulation's start; calling it tells the time, as `time.time` does."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def advance_to(self, time_s: float) -> None:
        """Move on to `time_s`; a time already past changes nothing."""
        self.now = max(self.now, time_s)
