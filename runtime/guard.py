"""Keeps AugServe's errors out of vLLM's engine loop: each decision has a fallback, and failures are counted."""

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar, TypeVarTuple

logger = logging.getLogger(__name__)

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")
Fallback = TypeVar("Fallback")

STRIKES = 3
"""Failures in a row after which a decision is suspended."""
SUSPENSION_S = 30.0
_FAILED: Final = object()


@dataclass(slots=True)
class _Record:
    strikes: int = 0
    suspended_s: float = float("-inf")  # start of the suspension


class Guard:
    """Calls decisions; one that raises gets its fallback, and one that keeps raising is suspended for SUSPENSION_S.

    Each reason has its own record, so a broken recorder does not suspend the ordering.
    """

    def __init__(self, clock: Callable[[], float], count: Callable[[str], None]) -> None:
        """`count` is called with the reason of each fallback."""
        self._clock = clock
        self._count = count
        self._records: dict[str, _Record] = {}

    def call(
        self, reason: str, function: Callable[[*Arguments], Result], *arguments: *Arguments, fallback: Fallback
    ) -> Result | Fallback:
        """The function's result, or `fallback` if the function raises or is suspended. Never raises."""
        record = self._records.get(reason)
        if record is not None and record.strikes >= STRIKES:
            if 0 <= self._clock() - record.suspended_s < SUSPENSION_S:  # negative if the clock was set back
                self._count_fallback(reason)
                return fallback
            record.strikes = STRIKES - 1  # one more try: the next failure suspends again
        try:
            result = function(*arguments)
        except Exception as error:  # noqa: BLE001 — no exception may pass this point
            self._note_failure(reason, error)
            return fallback
        if record is not None:
            record.strikes = 0
        return result

    def attempt(self, reason: str, function: Callable[[*Arguments], object], *arguments: *Arguments) -> bool:
        """Call a function for its effect; False if it raises or is suspended. Never raises."""
        return self.call(reason, function, *arguments, fallback=_FAILED) is not _FAILED

    def _count_fallback(self, reason: str) -> None:
        with contextlib.suppress(Exception):  # in multiprocess mode the counters are files
            self._count(reason)

    def _note_failure(self, reason: str, error: Exception) -> None:
        self._count_fallback(reason)
        record = self._records.get(reason)
        if record is None:
            record = self._records[reason] = _Record()
            logger.warning("augserve: %s failed and falls back to vLLM's behaviour: %r", reason, error, exc_info=True)
        record.strikes += 1
        if record.strikes == STRIKES:
            record.suspended_s = self._clock()
            logger.debug("augserve: %s failed %d times in a row: suspended for %.0f s", reason, STRIKES, SUSPENSION_S)
