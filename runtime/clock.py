"""The engine's clock, and arrivals on it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(slots=True)
class _Delays:
    """Least delays of the present window, which began at `since_s`, and of the one before."""

    since_s: float
    least_s: float
    before_s: float = float("inf")


class ArrivalClock:
    """When requests arrived, on the engine's clock.

    A request bears the time of its API server, which may run on another host, and comes in up to a step later. So each
    server's clock is compared with the engine's by the least delay of the last WINDOW_S to 2 WINDOW_S: what exceeds it
    is a delay. More than LONGEST_S is rather a step of the server's clock. If the least delay is below TRANSIT_S, it is
    the time that requests take to come in, and the clocks agree.
    """

    WINDOW_S: ClassVar[float] = 300.0
    LONGEST_S: ClassVar[float] = 10.0
    TRANSIT_S: ClassVar[float] = 0.1

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._delays: dict[int, _Delays] = {}  # by API server

    def arrived_s(self, server: int, sent_s: float) -> float:
        """When a request arrived that comes in now; `sent_s`: its arrival on the clock of its API server."""
        now_s = self._clock()
        delay_s = now_s - sent_s
        seen = self._delays.get(server)
        if seen is None or now_s - seen.since_s > 2 * self.WINDOW_S:
            seen = self._delays[server] = _Delays(now_s, delay_s)
        elif now_s - seen.since_s > self.WINDOW_S:
            seen = self._delays[server] = _Delays(now_s, delay_s, seen.least_s)
        seen.least_s = min(seen.least_s, delay_s)
        least_s = min(seen.least_s, seen.before_s)
        late_s = delay_s if 0.0 <= least_s < self.TRANSIT_S else delay_s - least_s
        if late_s > self.LONGEST_S:
            self._delays[server], late_s = _Delays(now_s, delay_s), 0.0
        return now_s - late_s
