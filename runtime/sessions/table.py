"""The live sessions and their histories, bounded in number, in bytes and in age."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...features.session_history import ReturnedCall
from ...features.shared_history import SharedHistory
from .linking import Link, TurnLinker
from .past import Past
from .prefix import Prefix
from .session import Session, pack, seen_s, unpack

MAX_SESSIONS = 1 << 16
MAX_BYTES = 96 << 20
"""Bytes of all packed sessions. One with a few tools takes about 0.9 kB, one that names 256 tools 15 kB."""
ENTRY_BYTES = 320
"""Memory of a packed session beside its bytes: its key and its place in the table."""
UNPACKED = 16
"""Sessions seen last, which stay unpacked. The others are bytes, which the garbage collector need not visit."""
TTL_S = 3600.0


@dataclass(frozen=True, slots=True)
class Pause:
    """The time between two turns of a session, which its tool calls take: from a finish to the next arrival."""

    turn: int  # the turn that made the call
    start_s: float
    duration_s: float
    context_tokens: int  # context at its start


class SessionTable:
    """Sessions by id, their shared history and their linker. The least recently seen session is dropped first."""

    def __init__(
        self,
        max_sessions: int = MAX_SESSIONS,
        ttl_s: float = TTL_S,
        closed: Callable[[], object] = lambda: None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """`closed` is called for each dropped session: one idle for `ttl_s`, or one beyond the bounds."""
        self.linker = TurnLinker()
        self.shared = SharedHistory()
        # Both in the order of their last turns. Of plain dicts of bytes the garbage collector visits no entry.
        self._unpacked: dict[str, Session] = {}
        self._packed: dict[str, bytes] = {}  # all seen before those of `_unpacked`
        self._bytes = 0  # of `_packed`
        self._oldest_s = float("-inf")  # no session was seen before it
        self._max_sessions = max_sessions
        self._max_bytes = max_bytes
        self._ttl_s = ttl_s
        self._closed = closed

    def __len__(self) -> int:
        return len(self._packed) + len(self._unpacked)

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._unpacked or session_id in self._packed

    def link(
        self, prefix: Prefix | None, call_ids: Sequence[str | None], tenant: str | None, now_s: float
    ) -> Link | None:
        """The session that an arriving turn continues, if its prompt or its call ids show it; see linking.py."""
        self._expire(now_s)
        return self.linker.link(prefix, call_ids, tenant)

    def turn_ended(self, session_id: str, past: Past, finished: bool) -> None:
        """Remember an ended turn, so that its continuation is recognised. `finished`: False if it was aborted."""
        if session_id in self:
            self.linker.turn_ended(session_id, past, finished)

    def turn_arrived(
        self, session_id: str, now_s: float, calls: Sequence[ReturnedCall] = ()
    ) -> tuple[Session, int, Pause | None]:
        """Note a turn's arrival and the `calls` that have returned. Returns the session, the turn's number and the
        pause that it ends: None if the session's last turn has not finished, or if there is none."""
        self._expire(now_s)
        session = self._touch(session_id, now_s)
        pause = None
        if session.finish_s is not None:
            duration_s = max(now_s - session.finish_s, 0.0)
            pause = Pause(session.turns - 1, session.finish_s, duration_s, session.history.context_tokens)
            self.shared.paused(session.history, duration_s)
            self.shared.calls_returned(calls, duration_s)
            session.history.calls_returned(calls, duration_s)
            session.finish_s = None
        turn = session.turns
        session.turns += 1
        return session, turn, pause

    def turn_finished(self, session_id: str, now_s: float, prompt_tokens: int, output_tokens: int) -> None:
        """Note a turn that ended by itself. A session dropped in the meantime stays dropped."""
        if session_id in self:
            session = self._touch(session_id, now_s)
            session.history.turn_finished(prompt_tokens, output_tokens)
            self.shared.turn_finished(session.history, output_tokens)
            session.finish_s = now_s

    def _touch(self, session_id: str, now_s: float) -> Session:
        session = self._unpacked.pop(session_id, None) or self._unpack(session_id) or Session()
        self._unpacked[session_id] = session  # at the end
        session.seen_s = now_s
        if len(self._unpacked) > UNPACKED:
            self._pack(next(iter(self._unpacked)))
        while len(self) > self._max_sessions or self._bytes > self._max_bytes:
            self._drop(next(iter(self._packed or self._unpacked)))
        return session

    def _pack(self, session_id: str) -> None:
        self._packed[session_id] = packed = pack(self._unpacked.pop(session_id))
        self._bytes += len(packed) + ENTRY_BYTES

    def _unpack(self, session_id: str) -> Session | None:
        packed = self._packed.pop(session_id, None)
        if packed is None:
            return None
        self._bytes -= len(packed) + ENTRY_BYTES
        return unpack(packed)

    def _expire(self, now_s: float) -> None:
        """Drop sessions that are too old, at most two a call, so that no call pays for a burst."""
        for _ in range(2):
            if now_s - self._oldest_s <= self._ttl_s or not len(self):
                return
            session_id = next(iter(self._packed or self._unpacked))
            packed = self._packed.get(session_id)
            self._oldest_s = self._unpacked[session_id].seen_s if packed is None else seen_s(packed)
            if now_s - self._oldest_s > self._ttl_s:
                self._drop(session_id)

    def _drop(self, session_id: str) -> None:
        if self._unpacked.pop(session_id, None) is None:
            self._bytes -= len(self._packed.pop(session_id)) + ENTRY_BYTES
        self.linker.forget(session_id)
        self._closed()
