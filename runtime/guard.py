"""Keeps AugServe's own errors out of the engine: each decision has a fallback, counted by reason."""

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
Fallback = TypeVar("Fallback")

STRIKES = 3
"""Failures in a row after which a decision is left to vLLM for a while."""
SUSPENSION_S = 30.0


@dataclass(slots=True)
class _Record:
    strikes: int = 0
    suspended_s: float = float("-inf")  # since when


class Guard:
    """Runs decisions; what raises falls back, and what keeps raising is not asked again for a while.

    Each reason has its own record: a broken recorder does not stop the ordering.
    """

    def __init__(self, clock: Callable[[], float], count: Callable[[str], None]) -> None:
        self._clock = clock
        self._count = count
        self._records: dict[str, _Record] = {}

    def call(self, reason: str, decide: Callable[[], Result], fallback: Fallback) -> Result | Fallback:
        """The decision, or `fallback` where it raises or is suspended. Raises nothing."""
        record = self._records.get(reason)
        if record is not None and record.strikes >= STRIKES:
            if 0 <= self._clock() - record.suspended_s < SUSPENSION_S:  # below 0: the clock was set back
                self._counted(reason)
                return fallback
            record.strikes = STRIKES - 1  # one more try; a failure suspends again
        try:
            result = decide()
        except Exception as error:  # noqa: BLE001 — this is the place where nothing may pass
            self._failed(reason, error)
            return fallback
        if record is not None:
            record.strikes = 0
        return result

    def _counted(self, reason: str) -> None:
        with contextlib.suppress(Exception):  # counters may live in files, see metrics.py
            self._count(reason)

    def _failed(self, reason: str, error: Exception) -> None:
        self._counted(reason)
        record = self._records.get(reason)
        if record is None:
            record = self._records[reason] = _Record()
            logger.warning("augserve: %s fails and is left to vLLM's own way: %r", reason, error, exc_info=True)
        record.strikes += 1
        if record.strikes == STRIKES:
            record.suspended_s = self._clock()
            logger.debug("augserve: %s failed %d times in a row: suspended for %.0f s", reason, STRIKES, SUSPENSION_S)
