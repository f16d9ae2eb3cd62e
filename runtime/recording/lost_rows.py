"""Rows that a recorder could not keep: each is counted, a warning tells of them once in a while."""

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

WARN_S = 60.0
"""At most one warning of a kind in that time."""
GATHER_S = 1.0
"""So long the first warning waits for more of the same."""


class Losses:
    """Called from the engine's thread and the recorder's. `count` takes the number of rows at once."""

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
        """Warn of what was lost since the last warning, if it is time to."""
        with self._lock:
            now_s = self._clock()
            rows = self._unreported if at_once or now_s >= self._due_s else 0
            if not rows:
                return
            self._unreported, self._reported_s = 0, now_s
        logger.warning("augserve: %d trace rows were dropped (%s); the engine goes on", rows, self._cause)


class Outage:
    """A folder that takes no files for a while: one warning when that begins, a word when it is over."""

    def __init__(self, count: Callable[[int], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._count = count
        self._clock = clock
        self._warned_s = float("-inf")
        self._lost = 0
        self.cause: BaseException | None = None  # None: all is well

    def failed(self, what: object, cause: BaseException) -> None:
        if self.cause is None and self._clock() - self._warned_s >= WARN_S:
            self._warned_s = self._clock()
            logger.warning(
                "augserve: cannot write traces to %s (%s); the engine goes on, newer rows are kept as far as memory is "
                "set aside for them, then dropped and counted; repair the folder: it is tried again every few seconds",
                what,
                cause,
            )
        self.cause = cause

    def lost(self, rows: int) -> None:
        if rows:
            self._count(rows)
            self._lost += rows

    def over(self, what: object) -> None:
        """Writing works, or is given up."""
        if self.cause is not None and self._lost:
            logger.warning("augserve: %d trace rows were dropped while %s took none", self._lost, what)
        elif self.cause is not None:
            logger.info("augserve: traces are written to %s again, nothing was lost", what)
        self.cause, self._lost = None, 0
