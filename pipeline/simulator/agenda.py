"""When each turn of a workload arrives: after its session's calls and sub-agents have returned. Needs no vLLM."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

from ...data.workload.model import Session, ToolCall


@dataclass(slots=True, eq=False)
class UnderWay:
    """A session that has begun, or will begin at a known time."""

    number: int  # its own among all sessions of the agenda
    session: Session
    parent: "UnderWay | None" = None
    call: ToolCall | None = None  # the parent's call that it runs
    turn: int = 0  # of its last turn
    agents: int = 0  # sub-agents of this turn that have not returned
    returned_s: float = 0.0  # when the last of this turn's calls returned, so far

    @property
    def root(self) -> "UnderWay":
        """The session at the root of its tree."""
        return self if self.parent is None else self.parent.root


class Due(NamedTuple):
    """A turn that arrives at `time_s`. A session has at most one, so the order is total."""

    time_s: float
    number: int
    turn: int
    under_way: UnderWay


class Agenda:
    """The turns to come, by time. With `agents` a closed loop: see data/workload/schedule.py, `Load`."""

    def __init__(self, sessions: Sequence[Session], agents: int | None = None) -> None:
        first = len(sessions) if agents is None else agents
        self._closed = agents is not None
        roots = [UnderWay(number, session) for number, session in enumerate(sessions)]
        self._numbers = count(len(sessions))
        self._later = iter(roots[first:])
        self._due = [Due(root.session.arrival_s, root.number, 0, root) for root in roots[:first]]
        heapq.heapify(self._due)

    @property
    def next_s(self) -> float | None:
        """The next arrival; None: nothing is due until a turn ends."""
        return self._due[0].time_s if self._due else None

    def pop(self, now_s: float) -> Due | None:
        """The next turn that has arrived by `now_s`, or None."""
        return heapq.heappop(self._due) if self._due and self._due[0].time_s <= now_s else None

    def turn_ended(self, due: Due, now_s: float) -> None:
        """Plan what follows a turn that ended at `now_s`."""
        under_way = due.under_way
        calls = under_way.session.turns[due.turn].calls
        if not calls:
            self._session_ended(under_way, now_s)
            return
        under_way.turn = due.turn
        under_way.returned_s = now_s + under_way.session.turns[due.turn].tools_s
        for call in calls:
            if call.agent is not None:
                under_way.agents += 1
                agent = UnderWay(next(self._numbers), call.agent, under_way, call)
                self._add(now_s + call.agent.arrival_s, agent, 0)
        if not under_way.agents:
            self._add(under_way.returned_s, under_way, due.turn + 1)

    def follows_s(self, due: Due) -> float:
        """The least time from the end of a turn to the next arrival that it causes."""
        session, call = due.under_way.session, due.under_way.call
        calls = session.turns[due.turn].calls
        if not calls:
            if due.under_way.parent is not None:
                return 0.0 if call is None else call.duration_s
            return 0.0 if self._closed else float("inf")
        agents_s = [call.agent.arrival_s for call in calls if call.agent is not None]
        return min(agents_s, default=session.turns[due.turn].tools_s)

    def _session_ended(self, ended: UnderWay, now_s: float) -> None:
        parent = ended.parent
        if parent is None:
            following = next(self._later, None)
            if following is not None:
                self._add(now_s + following.session.arrival_s, following, 0)
            return
        parent.agents -= 1
        parent.returned_s = max(parent.returned_s, now_s + (0.0 if ended.call is None else ended.call.duration_s))
        if not parent.agents:
            self._add(parent.returned_s, parent, parent.turn + 1)

    def _add(self, time_s: float, under_way: UnderWay, turn: int) -> None:
        heapq.heappush(self._due, Due(time_s, under_way.number, turn, under_way))
