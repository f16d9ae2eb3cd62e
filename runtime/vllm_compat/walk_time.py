"""The time for look-ups that walk over all blocks of a prompt."""

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

SHARE = 0.05
BURST_S = 0.02


class WalkTime:
    """An account of seconds: credited with SHARE of the time, BURST_S at most, and debited with what walks take."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._left_s = BURST_S
        self._seen_s = clock()

    def spend(self, walk: Callable[[], Result], otherwise: Result) -> Result:
        """The walk's result; `otherwise` while the account is overdrawn."""
        now_s = self._clock()
        self._left_s = min(self._left_s + SHARE * (now_s - self._seen_s), BURST_S)
        self._seen_s = now_s
        if self._left_s < 0.0:
            return otherwise
        result = walk()
        self._left_s -= self._clock() - now_s
        return result
