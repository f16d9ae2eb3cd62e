"""Keeps AugServe's errors out of vLLM's engine loop: each decision has a fallback, and failures are counted."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeVar, TypeVarTuple

logger = logging.getLogger(f"vllm.{__name__}")  # vLLM prints only what is logged below its own logger

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")
Fallback = TypeVar("Fallback")

STRIKES = 3
"""Failures in a row after which a decision is suspended."""
SUSPENSION_S = 30.0
REMIND_S = 600.0
"""Least time between two warnings of one reason."""
UNTIMED = frozenset({"description"})
"""Reasons whose calls are too many and too short to measure each."""
_FAILED: Final = object()


@dataclass(slots=True)
class _Record:
    strikes: int = 0
    suspended_s: float = float("-inf")  # start of the suspension
    is_suspended: bool = False  # until the next success
    warned_s: float = float("-inf")
    unreported: int = 0  # failures since the last warning


class Guard:
    """Calls decisions; one that raises gets its fallback, and one that keeps raising is suspended for SUSPENSION_S.

    Each reason has its own record, so a broken recorder does not suspend the ordering. The first failure logs a
    warning, and so does a later one if the last warning is REMIND_S old.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        count: Callable[[str], None],
        suspend: Callable[[str, str | None], None],
        took: Callable[[str, float], None] = lambda *_: None,
    ) -> None:
        """`count` is called with the reason of each fallback; `suspend` with a reason and the kind of error that
        suspends it, or None when it works again; `took` with the reason and the seconds of each success."""
        self._clock = clock
        self._count = count
        self._suspend = suspend
        self._took = took
        self._records: dict[str, _Record] = {}
        self.suspended: set[str] = set()

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
        began_s = time.perf_counter()
        try:
            result = function(*arguments)
        except Exception as error:  # noqa: BLE001 — no exception may pass this point
            self._note_failure(reason, error)
            return fallback
        if reason not in UNTIMED:
            with contextlib.suppress(Exception):
                self._took(reason, time.perf_counter() - began_s)
        if record is not None and record.strikes:
            record.strikes = 0
            self._set_suspended(reason, record, None)
        return result

    def attempt(self, reason: str, function: Callable[[*Arguments], object], *arguments: *Arguments) -> bool:
        """Call a function for its effect; False if it raises or is suspended. Never raises."""
        return self.call(reason, function, *arguments, fallback=_FAILED) is not _FAILED

    def forgive(self, reasons: Iterable[str]) -> None:
        """Forget the failures of these reasons: something else decides from now on."""
        for reason in reasons:
            if (record := self._records.pop(reason, None)) is not None:
                self._set_suspended(reason, record, None)

    def _count_fallback(self, reason: str) -> None:
        with contextlib.suppress(Exception):  # in multiprocess mode the counters are files
            self._count(reason)

    def _note_failure(self, reason: str, error: Exception) -> None:
        self._count_fallback(reason)
        record = self._records.get(reason)
        if record is None:
            record = self._records[reason] = _Record()
        record.strikes += 1
        record.unreported += 1
        now_s = self._clock()
        if record.strikes == STRIKES:
            record.suspended_s = now_s
            self._set_suspended(reason, record, type(error).__name__)
        if not 0 <= now_s - record.warned_s < REMIND_S:
            message = "augserve: %s failed (%d times since the last warning) and falls back to vLLM's behaviour: %r"
            logger.warning(message, reason, record.unreported, error, exc_info=error)
            record.warned_s, record.unreported = now_s, 0

    def _set_suspended(self, reason: str, record: _Record, cause: str | None) -> None:
        """`cause`: the kind of error; None: it works again."""
        if record.is_suspended == (cause is not None):
            return
        record.is_suspended = cause is not None
        (self.suspended.discard if cause is None else self.suspended.add)(reason)
        with contextlib.suppress(Exception):
            self._suspend(reason, cause)
        if record.is_suspended:
            logger.warning(
                "augserve: %s failed %d times in a row: suspended, tried every %.0f s", reason, STRIKES, SUSPENSION_S
            )
        else:
            logger.info("augserve: %s works again", reason)
