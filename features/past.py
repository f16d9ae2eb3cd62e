"""Feature vectors of past turns, computed in time order: each vector uses only what serving knew at that moment."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from .session_history import ReturnedCall, SessionHistory
from .shared_history import SharedHistory
from .tool_call import ToolCallFacts, expected_call, tool_call_features
from .turn import TurnFacts, turn_features


@dataclass(frozen=True, slots=True)
class PastCall:
    """A tool call that has returned. None means unknown."""

    tool: str
    duration_s: float
    argument_count: int | None = None
    argument_bytes: int | None = None
    argument_head: str | None = None
    timed: bool = False  # True: the call's own duration; False: the length of the pause

    def facts(self, turn: int, calls: int) -> ToolCallFacts:
        return ToolCallFacts(self.tool, turn, self.argument_count, self.argument_bytes, self.argument_head, calls)

    def returned(self) -> ReturnedCall:
        duration_s = self.duration_s if self.timed else None
        return ReturnedCall(self.tool, duration_s, self.argument_bytes, self.argument_head)


@dataclass(frozen=True, slots=True)
class PastPause:
    """The time from a turn's end to the session's next arrival. The scheduler learns of its calls at that arrival."""

    return_s: float
    pause_s: float
    calls: tuple[PastCall, ...] = ()  # several if the turn made parallel calls; empty if they are unknown


@dataclass(frozen=True, slots=True)
class PastTurn:
    """A turn and the pause after it. All turns share one clock."""

    session_id: str
    facts: TurnFacts
    arrival_s: float
    finish_s: float | None  # None: never finished
    output_tokens: int
    pause: PastPause | None = None
    tenant: str | None = None
    last: bool = False  # no turn of the session arrives later: its history may be let go


@dataclass(frozen=True, slots=True)
class TurnVectors:
    """The feature vectors of one turn.

    `turn_features` and `expected_call_features` are computed at the arrival. The latter describe the call that may
    follow, with the session's last call as a stand-in. `call_features` are computed at the finish, one vector per call
    of `past.pause.calls`; if the calls are unknown, one vector of an unknown call; without a pause, none.
    """

    past: PastTurn
    last_tool: str | None  # at arrival
    turn_features: NDArray[np.float32]
    expected_call_features: NDArray[np.float32]
    call_features: tuple[NDArray[np.float32], ...] = ()


class _Moment(IntEnum):
    """Events of a turn, in the order in which they happen."""

    ARRIVAL = 0
    FINISH = 1
    RETURN = 2


_Event = tuple[float, str, int, _Moment, PastTurn]


def vectorize(turns: Iterable[PastTurn]) -> Iterator[TurnVectors]:
    """Yield each turn's vectors once the turn has finished, in time order; `turns` may come in any order.

    Events at the same instant are ordered by session, then by turn. A turn that never finished is yielded at its
    arrival.
    """
    return vectorize_arrivals(sorted(turns, key=arrival))


def arrival(past: PastTurn) -> tuple[float, str, int]:
    """The order of arrivals: time, session, turn."""
    return past.arrival_s, past.session_id, past.facts.turn


def vectorize_arrivals(
    turns: Iterable[PastTurn], wanted: Callable[[PastTurn], bool] = lambda _: True
) -> Iterator[TurnVectors]:
    """As `vectorize`, of turns in the order of `arrival`. Memory holds open turns, and sessions that are not over.

    Turns that are not `wanted` are history alone, which costs less than half.
    """
    sessions: dict[str, SessionHistory] = {}
    shared = SharedHistory()
    unfinished: dict[tuple[str, int], TurnVectors] = {}
    for _, session_id, turn, moment, past, over in _in_time(turns):
        session = sessions.setdefault(session_id, SessionHistory())
        if over:
            del sessions[session_id]
        if moment is _Moment.ARRIVAL:
            session.tenant = past.tenant
            if not wanted(past):
                continue
            expected = tool_call_features(expected_call(session, turn), session, shared)
            vectors = TurnVectors(past, session.last_tool, turn_features(past.facts, session, shared), expected)
            if past.finish_s is None:
                yield vectors
            else:
                unfinished[session_id, turn] = vectors
        elif moment is _Moment.FINISH:
            session.turn_finished(past.facts.prompt_tokens, past.output_tokens)
            shared.turn_finished(session, past.output_tokens)
            if (vectors_at_arrival := unfinished.pop((session_id, turn), None)) is not None:
                yield _with_calls(vectors_at_arrival, session, shared)
        elif past.pause is not None:
            returned = [call.returned() for call in past.pause.calls]
            shared.paused(session, past.pause.pause_s)
            shared.calls_returned(returned, past.pause.pause_s)
            session.calls_returned(returned, past.pause.pause_s)


def _with_calls(vectors: TurnVectors, session: SessionHistory, shared: SharedHistory) -> TurnVectors:
    pause, turn = vectors.past.pause, vectors.past.facts.turn
    if pause is None:
        return vectors
    calls = [call.facts(turn, len(pause.calls)) for call in pause.calls] or [ToolCallFacts(None, turn)]
    return replace(vectors, call_features=tuple(tool_call_features(call, session, shared) for call in calls))


def _in_time(turns: Iterable[PastTurn]) -> Iterator[tuple[float, str, int, _Moment, PastTurn, bool]]:
    """The events of turns in the order of arrival, in time order, each with whether it is the last of its session."""
    to_come: list[_Event] = []
    open_events: Counter[str] = Counter()
    last_arrived: set[str] = set()

    def next_event() -> tuple[float, str, int, _Moment, PastTurn, bool]:
        event = heappop(to_come)
        session_id = event[1]
        open_events[session_id] -= 1
        over = not open_events[session_id] and session_id in last_arrived
        if not open_events[session_id]:
            del open_events[session_id]
        if over:
            last_arrived.remove(session_id)
        return *event, over

    for past in turns:
        while to_come and to_come[0][:3] < arrival(past):
            yield next_event()
        for event in _events(past):
            heappush(to_come, event)
            open_events[past.session_id] += 1
        if past.last:
            last_arrived.add(past.session_id)
    while to_come:
        yield next_event()


def _events(past: PastTurn) -> Iterator[_Event]:
    session_id, turn = past.session_id, past.facts.turn
    yield past.arrival_s, session_id, turn, _Moment.ARRIVAL, past
    if past.finish_s is not None:
        finish_s = max(past.finish_s, past.arrival_s)
        yield finish_s, session_id, turn, _Moment.FINISH, past
        if past.pause is not None:
            yield max(past.pause.return_s, finish_s), session_id, turn, _Moment.RETURN, past
