"""Whether an arriving turn is queued or refused. Pure: times and what the engine tells come from outside."""

import math
from collections import deque
from dataclasses import dataclass

from .notice import Notice

TRANSIT_S = 0.5
"""Time in which a turn that passed may not have reached the engine's queue."""
MAX_SESSIONS = 1 << 16
"""Sessions that are known, and refused turns that are remembered. Both forget the one not seen for longest."""
KNOWN_S = 3600.0
"""Time after its last turn in which a session is known."""
MAX_AT_ONCE = 32
"""Turns under way of one session and its sub-agents that pass as known."""
LONGEST_RETRY_S = 60


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a turn."""

    key: bytes  # of its session, else of its conversation, else of its request
    goes_on: bool  # whether it may be the next turn of a known session; False: its conversation only begins
    parent: bytes | None = None  # key of the session that waits for this one


@dataclass(frozen=True, slots=True)
class Refused:
    expected_s: float  # wait that the turn was spared
    retry_after_s: int


@dataclass(frozen=True, slots=True)
class Passed:
    waited_s: float  # since its first try; 0 for a first try


class Gate:
    """Refuses newcomers beyond the operator's limit on the expected wait.

    The next turn of a known session passes, and so do its sub-agents: the session holds memory, and to stop it would
    waste what was computed. A session is known once a turn of it has passed. It counts as one as long as not more than
    MAX_AT_ONCE of its turns are under way; so the turns that wait are bounded by the sessions that were let in.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, float] = {}  # when last seen, in this order
        self._tried: dict[bytes, float] = {}  # first tries of the refused
        self._under_way: dict[bytes, int] = {}
        self._passed: deque[float] = deque()  # when newcomers passed that may not have reached the queue

    def arrives(self, caller: Caller, notice: Notice, now_s: float) -> Passed | Refused:
        """Decide on a turn; `leaves` must follow for one that passed."""
        expected_s = 0.0 if self._is_known(caller, now_s) else self._expected_s(notice, now_s)
        first_s = self._tried.get(caller.key, now_s)
        if expected_s > notice.limit_s:
            _put(self._tried, caller.key, first_s)
            return Refused(expected_s, min(math.ceil(expected_s - notice.limit_s), LONGEST_RETRY_S))
        self._tried.pop(caller.key, None)
        _put(self._known, caller.key, now_s)
        self._passed.append(now_s)
        for key in _sessions(caller):
            self._under_way[key] = self._under_way.get(key, 0) + 1
        return Passed(now_s - first_s)

    def leaves(self, caller: Caller, now_s: float) -> None:
        """A turn that passed has ended, in whatever way."""
        for key in _sessions(caller):
            self._under_way[key] -= 1
            if not self._under_way[key]:
                del self._under_way[key]
            if key in self._known:
                _put(self._known, key, now_s)

    def _is_known(self, caller: Caller, now_s: float) -> bool:
        keys = _sessions(caller) if caller.goes_on else _sessions(caller)[1:]
        return any(
            now_s - self._known.get(key, -math.inf) <= KNOWN_S and self._under_way.get(key, 0) < MAX_AT_ONCE
            for key in keys
        )

    def _expected_s(self, notice: Notice, now_s: float) -> float:
        """What is left of what the engine told, plus what has passed and is not in what it told."""
        while self._passed and now_s - self._passed[0] > TRANSIT_S:
            self._passed.popleft()
        return notice.left_s(now_s) + notice.wait.turn_s * len(self._passed)


def _sessions(caller: Caller) -> tuple[bytes, ...]:
    return (caller.key,) if caller.parent is None else (caller.key, caller.parent)


def _put(table: dict[bytes, float], key: bytes, time_s: float) -> None:
    """Put an entry last, and drop the first one of too many."""
    table.pop(key, None)
    table[key] = time_s
    if len(table) > MAX_SESSIONS:
        del table[next(iter(table))]
