"""Keeps each session on one engine, and begins new ones where the least work waits."""

from collections.abc import Mapping
from typing import Protocol

from .rendezvous import rendezvous

MAX_SESSIONS = 1 << 16
"""Sessions that are remembered; the one not seen for longest is forgotten first."""


class Places(Protocol):
    """The rank of each session, by its key."""

    def get(self, key: bytes) -> int | None: ...

    def put(self, key: bytes, rank: int) -> None: ...


class RememberedPlaces:
    """Places in this process."""

    def __init__(self, most: int = MAX_SESSIONS) -> None:
        self._most = most
        self._ranks: dict[bytes, int] = {}

    def get(self, key: bytes) -> int | None:
        return self._ranks.get(key)

    def put(self, key: bytes, rank: int) -> None:
        self._ranks.pop(key, None)
        self._ranks[key] = rank
        if len(self._ranks) > self._most:
            del self._ranks[next(iter(self._ranks))]


class SessionPlacement:
    """A session stays on its rank while that is live; its sub-agents go where it is.

    A new session goes to the live rank with the least backlog, and so does one whose rank is lost. Of equal backlogs
    the rendezvous hash chooses, so that engines that tell no backlog still keep their sessions.
    """

    def __init__(self, places: Places | None = None) -> None:
        self._places = RememberedPlaces() if places is None else places

    def place(self, key: bytes, parent: bytes | None, backlogs_s: Mapping[int, float]) -> tuple[int, bool]:
        """The rank of a session's turn, and whether the session is new there.

        `backlogs_s`: by live rank. Raises ValueError without a live rank.
        """
        rank = known = self._places.get(key)
        if rank not in backlogs_s and parent is not None:
            rank = self._places.get(parent)
        if rank is None or rank not in backlogs_s:
            least_s = min(backlogs_s.values(), default=0.0)
            rank = rendezvous(key, [rank for rank, backlog_s in backlogs_s.items() if backlog_s == least_s])
        self._places.put(key, rank)
        return rank, rank != known
