"""The live sessions and their histories, bounded in number and in age."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ...features.session_history import ReturnedCall, SessionHistory
from ...features.shared_history import SharedHistory
from .linking import Link, TurnLinker
from .past import Past
from .prefix import Prefix

MAX_SESSIONS = 100_000
TTL_S = 3600.0


@dataclass(slots=True)
class Session:
    history: SessionHistory = field(default_factory=SessionHistory)
    turns: int = 0  # arrived so far
    finish_s: float | None = None  # of the last turn; None once a later one has arrived
    seen_s: float = 0.0


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
        self, max_sessions: int = MAX_SESSIONS, ttl_s: float = TTL_S, closed: Callable[[], object] = lambda: None
    ) -> None:
        """`closed` is called for each dropped session: one idle for `ttl_s`, or one beyond `max_sessions`."""
        self.linker = TurnLinker()
        self.shared = SharedHistory()
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._max_sessions = max_sessions
        self._ttl_s = ttl_s
        self._closed = closed

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._sessions

    def link(
        self, prefix: Prefix | None, call_ids: Sequence[str | None], tenant: str | None, now_s: float
    ) -> Link | None:
        """The session that an arriving turn continues, if its prompt or its call ids show it; see linking.py."""
        self._expire(now_s)
        return self.linker.link(prefix, call_ids, tenant)

    def turn_ended(self, session_id: str, past: Past, finished: bool) -> None:
        """Remember an ended turn, so that its continuation is recognised. `finished`: False if it was aborted."""
        if session_id in self._sessions:
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
        if session_id in self._sessions:
            session = self._touch(session_id, now_s)
            session.history.turn_finished(prompt_tokens, output_tokens)
            self.shared.turn_finished(session.history, output_tokens)
            session.finish_s = now_s

    def _touch(self, session_id: str, now_s: float) -> Session:
        session = self._sessions.get(session_id)
        if session is None:
            session = self._sessions[session_id] = Session()
            if len(self._sessions) > self._max_sessions:
                self._drop(next(iter(self._sessions)))
        else:
            self._sessions.move_to_end(session_id)
        session.seen_s = now_s
        return session

    def _expire(self, now_s: float) -> None:
        """Drop sessions that are too old, at most two a call, so that no call pays for a burst."""
        for _ in range(2):
            if not self._sessions:
                return
            session_id, session = next(iter(self._sessions.items()))
            if now_s - session.seen_s <= self._ttl_s:
                return
            self._drop(session_id)

    def _drop(self, session_id: str) -> None:
        del self._sessions[session_id]
        self.linker.forget(session_id)
        self._closed()
