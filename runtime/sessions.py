"""The live sessions: what each has done so far, bounded in number and in age."""

from collections import OrderedDict
from dataclasses import dataclass, field

from ..features.history import SessionHistory, ToolHistory

MAX_SESSIONS = 100_000
TTL_S = 3600.0
MAX_TOOLS = 4096
"""Tool names come from callers; beyond so many, new ones are not remembered."""


@dataclass(slots=True)
class Session:
    history: SessionHistory = field(default_factory=SessionHistory)
    turns: int = 0  # arrived so far
    finish_s: float | None = None  # finish of the last turn, while no later one has arrived
    seen_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Pause:
    """A tool call, seen from outside: from the finish of a turn to the arrival of the next."""

    turn: int  # the turn that made the call
    start_s: float
    duration_s: float
    context_tokens: int  # context at its start


class SessionTable:
    """Session id → Session, least recently seen first to go; and the tools' durations over all of them."""

    def __init__(self, max_sessions: int = MAX_SESSIONS, ttl_s: float = TTL_S) -> None:
        self.tools = ToolHistory()
        self._tool_names: set[str] = set()
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._max_sessions = max_sessions
        self._ttl_s = ttl_s

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._sessions

    def turn_arrived(self, session_id: str, now_s: float, tool: str | None) -> tuple[Session, int, Pause | None]:
        """Note a turn's arrival, and that `tool` has returned. Gives the session, the turn's number and the pause
        that it ends, None where the last turn has not finished (or there is none)."""
        self._expire(now_s)
        session = self._touch(session_id, now_s)
        pause = None
        if session.finish_s is not None:
            duration_s = max(now_s - session.finish_s, 0.0)
            pause = Pause(session.turns - 1, session.finish_s, duration_s, session.history.context_tokens)
            session.history.tool_returned(tool, duration_s)
            self._learn(tool, duration_s)
            session.finish_s = None
        turn = session.turns
        session.turns += 1
        return session, turn, pause

    def turn_finished(self, session_id: str, now_s: float, prompt_tokens: int, output_tokens: int) -> None:
        """Note a turn that ran to its end. A session that is forgotten by then stays forgotten."""
        if session_id in self._sessions:
            session = self._touch(session_id, now_s)
            session.history.turn_finished(prompt_tokens, output_tokens)
            session.finish_s = now_s

    def _touch(self, session_id: str, now_s: float) -> Session:
        session = self._sessions.get(session_id)
        if session is None:
            session = self._sessions[session_id] = Session()
            if len(self._sessions) > self._max_sessions:
                self._sessions.popitem(last=False)
        else:
            self._sessions.move_to_end(session_id)
        session.seen_s = now_s
        return session

    def _expire(self, now_s: float) -> None:
        """Forget what is too old: at most two a call, so that no call pays for a burst."""
        for _ in range(2):
            if not self._sessions:
                return
            session_id, session = next(iter(self._sessions.items()))
            if now_s - session.seen_s <= self._ttl_s:
                return
            del self._sessions[session_id]

    def _learn(self, tool: str | None, duration_s: float) -> None:
        if tool is None:
            return
        if tool not in self._tool_names:
            if len(self._tool_names) >= MAX_TOOLS:
                return
            self._tool_names.add(tool)
        self.tools.add(tool, duration_s)
