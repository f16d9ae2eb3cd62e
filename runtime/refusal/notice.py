"""What an engine tells its API server each step: how long a newcomer would wait.

vLLM passes no such number from the engine's process to the API server's middleware before the request is queued. So
each engine writes it into a small file of the metrics' folder, which both processes map into memory.
"""

import mmap
import secrets
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..mapped_file import MappedFile, read_mapped
from ..publisher import shared_folder

_NUMBERS: Final = struct.Struct("<4d")
SUFFIX = ".wait"
LOOK_S = 1.0
"""Time between two looks for engines, while none is known."""


@dataclass(frozen=True, slots=True)
class ExpectedWait:
    wait_s: float  # of a turn that arrives now
    turn_s: float  # engine time that one more turn adds


@dataclass(frozen=True, slots=True)
class Notice:
    """An expected wait as the API server reads it."""

    wait: ExpectedWait
    told_s: float  # on the host's monotonic clock
    limit_s: float  # the operator's `refuse_after_s`
    secret: str = ""  # shows the engine that a hint comes from the middleware

    def left_s(self, now_s: float) -> float:
        """What is left of the wait, for the engine has worked since."""
        return max(self.wait.wait_s - (now_s - self.told_s), 0.0)


class NoticeWriter:
    """The engine's end. Raises OSError where the file cannot be made."""

    def __init__(self, folder: Path, limit_s: float) -> None:
        self.secret = secrets.token_hex(16)
        self._limit_s = limit_s
        self._file = MappedFile(folder, SUFFIX, self._content(ExpectedWait(0.0, 0.0)) + self.secret.encode())

    def tell(self, wait: ExpectedWait) -> None:
        """A reader may see numbers of two calls at once, which are close to each other."""
        self._file.write(self._content(wait))

    def close(self) -> None:
        self._file.close()

    def _content(self, wait: ExpectedWait) -> bytes:
        return _NUMBERS.pack(time.monotonic(), wait.wait_s, wait.turn_s, self._limit_s)


class NoticeReader:
    """The API server's end: reads the engine with the shortest wait, to which vLLM's balancer sends a newcomer."""

    def __init__(self) -> None:
        self._maps: list[mmap.mmap] = []
        self._looked_s = float("-inf")

    def read(self) -> Notice | None:
        """None where no engine tells anything: nothing is to be refused."""
        now_s = time.monotonic()
        if not self._maps and now_s - self._looked_s >= LOOK_S:
            self._looked_s = now_s
            self._maps = list(self._find())
        return min(map(_read, self._maps), key=lambda notice: notice.left_s(now_s), default=None)

    def _find(self) -> list[mmap.mmap]:
        folder = shared_folder()
        mapped = map(read_mapped, sorted(folder.glob(f"*{SUFFIX}"))) if folder else ()
        return [found for found in mapped if found is not None]


def _read(mapped: mmap.mmap) -> Notice:
    told_s, wait_s, turn_s, limit_s = _NUMBERS.unpack_from(mapped)
    secret = mapped[_NUMBERS.size :].decode("ascii")
    return Notice(ExpectedWait(wait_s, turn_s), told_s, limit_s, secret)
