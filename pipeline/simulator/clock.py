"""Virtual time."""


class VirtualClock:
    """Seconds since the start of the simulation. A call returns the time, like `time.time`."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def advance_to(self, time_s: float) -> None:
        """Advance to `time_s`, never backwards."""
        self.now = max(self.now, time_s)
