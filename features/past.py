"""The past, replayed in the order of time, so that training rows hold what serving knew at each moment and no more."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from .session_history import ReturnedCall, SessionHistory
from .shared_history import SharedHistory
from .tool_call import ToolCallFacts, expected_call, tool_call_features
from .turn import TurnFacts, turn_features


@dataclass(frozen=True, slots=True)
class PastCall:
    """A tool call that has returned."""

    tool: str
    duration_s: float
    argument_count: int | None = None
    argument_bytes: int | None = None
    argument_head: str | None = None
    timed: bool = False  # by itself; otherwise the pause is all that is known of its duration

    def facts(self, turn: int, calls: int) -> ToolCallFacts:
        return ToolCallFacts(self.tool, turn, self.argument_count, self.argument_bytes, self.argument_head, calls)

    def returned(self) -> ReturnedCall:
        duration_s = self.duration_s if self.timed else None
        return ReturnedCall(self.tool, duration_s, self.argument_bytes, self.argument_head)


@dataclass(frozen=True, slots=True)
class PastPause:
    """From a turn's end to the next arrival, at which what happened in between became known."""

    return_s: float
    pause_s: float
    calls: tuple[PastCall, ...] = ()  # several where the turn made them at once; none where nothing is told


@dataclass(frozen=True, slots=True)
class PastTurn:
    """A turn that has happened, and the pause that followed it, on one clock with all the others."""

    session_id: str
    facts: TurnFacts
    arrival_s: float
    finish_s: float | None  # None: never finished
    output_tokens: int
    pause: PastPause | None = None
    tenant: str | None = None


@dataclass(slots=True)
class Replayed:
    """A turn's vectors: at its arrival, and at its finish for each call of the pause that followed.

    `expected_call_features` are what serving knows at the arrival of the call that may follow: the session's last one
    stands for it. `call_features` know each call's tool and arguments, in the order of `past.pause.calls`; where these
    are none, there is one row, of a call of which nothing is told. Without a pause there is no row.
    """

    past: PastTurn
    last_tool: str | None  # at arrival
    turn_features: NDArray[np.float32]
    expected_call_features: NDArray[np.float32]
    call_features: tuple[NDArray[np.float32], ...] = ()


class _Moment(IntEnum):
    """In the order in which they happen to a turn."""

    ARRIVAL = 0
    FINISH = 1
    RETURN = 2


def replay(turns: Iterable[PastTurn]) -> Iterator[Replayed]:
    """Give every turn with its vectors, in the order of time; turns come in any order.

    What happens at the same instant is ordered by session, then by turn.
    """
    sessions: dict[str, SessionHistory] = {}
    shared = SharedHistory()
    open_turns: dict[tuple[str, int], Replayed] = {}
    for _, session_id, turn, moment, past in sorted(_events(turns), key=lambda event: event[:4]):
        session = sessions.setdefault(session_id, SessionHistory())
        if moment is _Moment.ARRIVAL:
            session.tenant = past.tenant
            expected = tool_call_features(expected_call(session, turn), session, shared)
            replayed = Replayed(past, session.last_tool, turn_features(past.facts, session, shared), expected)
            if past.finish_s is None:
                yield replayed
            else:
                open_turns[session_id, turn] = replayed
        elif moment is _Moment.FINISH:
            session.turn_finished(past.facts.prompt_tokens, past.output_tokens)
            shared.turn_finished(session, past.output_tokens)
            replayed = open_turns.pop((session_id, turn))
            if past.pause is not None:
                calls = past.pause.calls
                facts = [call.facts(turn, len(calls)) for call in calls] or [ToolCallFacts(None, turn)]
                replayed.call_features = tuple(tool_call_features(one, session, shared) for one in facts)
            yield replayed
        elif past.pause is not None:
            returned = [call.returned() for call in past.pause.calls]
            shared.paused(session, past.pause.pause_s)
            shared.calls_returned(returned, past.pause.pause_s)
            session.calls_returned(returned, past.pause.pause_s)


def _events(turns: Iterable[PastTurn]) -> Iterator[tuple[float, str, int, _Moment, PastTurn]]:
    for past in turns:
        name, turn = past.session_id, past.facts.turn
        yield past.arrival_s, name, turn, _Moment.ARRIVAL, past
        if past.finish_s is not None:
            finish_s = max(past.finish_s, past.arrival_s)
            yield finish_s, name, turn, _Moment.FINISH, past
            if past.pause is not None:
                yield max(past.pause.return_s, finish_s), name, turn, _Moment.RETURN, past
