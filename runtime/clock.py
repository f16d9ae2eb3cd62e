"""The engine's clock, and arrivals on it."""

import time
from collections.abc import Callable
from typing import ClassVar


class SteadyClock:
    """Seconds since the epoch that never step: the time of day at the start, plus what a monotonic clock has counted.

    A correction of the system's clock would make all waiting turns overdue, or none of them.
    """

    __slots__ = ("_start_s",)

    def __init__(self) -> None:
        self._start_s = time.time() - time.monotonic()

    def __call__(self) -> float:
        return self._start_s + time.monotonic()


class ArrivalClock:
    """When requests arrived, on the engine's clock.

    A request bears the time of its API server, which may run on another host, and comes in up to a step later. So each
    server's clock is compared with the engine's by the least delay seen: what exceeds it is a delay, at most
    LONGEST_S. The least delay rises slowly, so that it follows a server's clock that is slewed.
    """

    LONGEST_S: ClassVar[float] = 0.25
    RISE: ClassVar[float] = 1e-3
    """Seconds a second."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._least: dict[int, tuple[float, float]] = {}  # by API server: least delay, and when it was seen

    def arrived_s(self, server: int, sent_s: float) -> float:
        """When a request arrived that comes in now; `sent_s`: its arrival on the clock of its API server."""
        now_s = self._clock()
        delay_s = now_s - sent_s
        least_s, seen_s = self._least.get(server, (delay_s, now_s))
        least_s = min(least_s + self.RISE * (now_s - seen_s), delay_s)
        if delay_s - least_s > self.LONGEST_S:  # rather a step of the server's clock
            least_s = delay_s
        self._least[server] = least_s, now_s
        return now_s - (delay_s - least_s)
