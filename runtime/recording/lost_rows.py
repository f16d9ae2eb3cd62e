"""Counts the rows that a recorder loses, and warns of them from time to time."""

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(f"vllm.{__name__}")

WARN_S = 60.0
"""Least time between two warnings."""
GATHER_S = 1.0
"""Delay of the first warning, so that it counts all rows of a burst."""


class LostRows:
    """Thread-safe. `count` receives the number of rows at once."""

    def __init__(self, count: Callable[[int], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._count = count
        self._clock = clock
        self._lock = threading.Lock()
        self._unreported = 0
        self._cause = ""
        self._due_s = 0.0
        self._reported_s = float("-inf")

    def add(self, rows: int, cause: str) -> None:
        if rows:
            self._count(rows)
            with self._lock:
                if not self._unreported:
                    self._due_s = max(self._clock() + GATHER_S, self._reported_s + WARN_S)
                self._unreported += rows
                self._cause = cause
            self.report()

    def report(self, at_once: bool = False) -> None:
        """Warn of the rows lost since the last warning, if a warning is due."""
        with self._lock:
            now_s = self._clock()
            rows = self._unreported if at_once or now_s >= self._due_s else 0
            if not rows:
                return
            self._unreported, self._reported_s = 0, now_s
        logger.warning("augserve: %d trace rows were dropped (%s); the engine goes on", rows, self._cause)
