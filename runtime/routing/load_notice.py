"""What an engine tells the API servers of its host: its number, and its backlog of work.

vLLM's own balancer knows counts of requests alone. So each engine that applies AugServe's decisions writes a small file
into the metrics' folder, which the API servers map into memory.
"""

import math
import mmap
import os
import struct
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ..mapped_file import MappedFile, read_mapped

_NUMBERS: Final = struct.Struct("<qdddq")
SUFFIX = ".load"
LOOK_S = 1.0
"""Time between two looks for engines that have come or gone."""
TRANSIT_S = 0.5
"""Time in which a turn that was placed may not be in the backlog of its engine."""


class LoadWriter:
    """The engine's end. Raises OSError where the file cannot be made."""

    def __init__(self, folder: Path, rank: int) -> None:
        self._rank = rank
        self._file = MappedFile(folder, SUFFIX, self._content(math.nan, 0.0))

    def tell(self, backlog_s: float, turn_s: float) -> None:
        """`turn_s`: what one more turn adds. NaN: AugServe does not decide now, and vLLM's balancer is to choose."""
        self._file.write(self._content(backlog_s, turn_s))

    def close(self) -> None:
        self._file.close()

    def _content(self, backlog_s: float, turn_s: float) -> bytes:
        return _NUMBERS.pack(self._rank, time.monotonic(), backlog_s, turn_s, os.getpid())


class LoadReader:
    """The API server's end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._maps: dict[Path, mmap.mmap] = {}
        self._seen: set[int] = set()
        self._placed: deque[tuple[float, int]] = deque()  # when, and to which rank
        self._looked_s = float("-inf")

    def backlogs_s(self, ranks: range) -> Mapping[int, float] | None:
        """By live rank, what is left of the told backlog and what was placed since; None where no engine tells one.

        A rank that has told something is live while its process is. With a rank that has told nothing, such as one on
        another host, all backlogs are 0: it cannot be compared.
        """
        now_s = time.monotonic()
        if now_s - self._looked_s >= LOOK_S:
            self._look(now_s)
        while self._placed and now_s - self._placed[0][0] > TRANSIT_S:
            self._placed.popleft()
        told: dict[int, float] = {}
        for mapped in self._maps.values():
            rank, told_s, backlog_s, turn_s, _ = _NUMBERS.unpack_from(mapped)
            if rank in ranks and not math.isnan(backlog_s):
                placed = sum(placed == rank for _, placed in self._placed)
                told[rank] = max(backlog_s - (now_s - told_s), 0.0) + placed * turn_s
        if not told:
            return None
        self._seen |= told.keys()
        unknown = set(ranks) - self._seen
        return told if not unknown else dict.fromkeys(sorted(told.keys() | unknown), 0.0)

    def placed(self, rank: int) -> None:
        """A new session was sent to this rank."""
        self._placed.append((time.monotonic(), rank))

    def _look(self, now_s: float) -> None:
        """Note the files of the engines that live."""
        self._looked_s = now_s
        paths = set(self._folder.glob(f"*{SUFFIX}"))
        for path in paths - self._maps.keys():
            if (mapped := read_mapped(path)) is not None and len(mapped) == _NUMBERS.size:
                self._maps[path] = mapped
        for path, mapped in list(self._maps.items()):
            if path not in paths or not _lives(_NUMBERS.unpack_from(mapped)[-1]):
                del self._maps[path]


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True
