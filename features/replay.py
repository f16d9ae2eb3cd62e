"""The past, replayed in the order of time, so that training rows hold what serving knew at each moment and no more."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from .history import SessionHistory, ToolHistory
from .tool_call import ToolCallFacts, tool_call_features
from .turn import TurnFacts, turn_features


@dataclass(frozen=True, slots=True)
class PastCall:
    """A tool call that has returned. `tool` None: the next turn did not tell."""

    tool: str | None
    return_s: float  # when the next turn arrived: the moment at which the duration became known
    duration_s: float
    argument_count: int | None = None
    argument_bytes: int | None = None
    argument_head: str | None = None


@dataclass(frozen=True, slots=True)
class PastTurn:
    """A turn that has happened, and the call that followed it, on one clock with all the others."""

    session_id: str
    facts: TurnFacts
    arrival_s: float
    finish_s: float | None  # None: never finished
    output_tokens: int
    call: PastCall | None = None


@dataclass(slots=True)
class Replayed:
    """A turn's vectors: at its arrival, and at its finish for the call that followed.

    `expected_call_features` are what serving knows at the arrival of the call that may follow: the session's last tool
    stands for its tool. `call_features` know the call's tool and arguments; None where no call followed.
    """

    past: PastTurn
    last_tool: str | None  # at arrival
    turn_features: NDArray[np.float32]
    expected_call_features: NDArray[np.float32]
    call_features: NDArray[np.float32] | None = None


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
    tools = ToolHistory()
    open_turns: dict[tuple[str, int], Replayed] = {}
    for _, session_id, turn, moment, past in sorted(_events(turns), key=lambda event: event[:4]):
        session = sessions.setdefault(session_id, SessionHistory())
        if moment is _Moment.ARRIVAL:
            expected = tool_call_features(ToolCallFacts(session.last_tool, turn), session, tools)
            replayed = Replayed(past, session.last_tool, turn_features(past.facts, session, tools), expected)
            if past.finish_s is None:
                yield replayed
            else:
                open_turns[session_id, turn] = replayed
        elif moment is _Moment.FINISH:
            session.turn_finished(past.facts.prompt_tokens, past.output_tokens)
            replayed = open_turns.pop((session_id, turn))
            if past.call is not None:
                replayed.call_features = tool_call_features(_call_facts(past.call, turn), session, tools)
            yield replayed
        elif past.call is not None:
            session.tool_returned(past.call.tool, past.call.duration_s)
            if past.call.tool is not None:
                tools.add(past.call.tool, past.call.duration_s)


def _events(turns: Iterable[PastTurn]) -> Iterator[tuple[float, str, int, _Moment, PastTurn]]:
    for past in turns:
        name, turn = past.session_id, past.facts.turn
        yield past.arrival_s, name, turn, _Moment.ARRIVAL, past
        if past.finish_s is not None:
            finish_s = max(past.finish_s, past.arrival_s)
            yield finish_s, name, turn, _Moment.FINISH, past
            if past.call is not None:
                yield max(past.call.return_s, finish_s), name, turn, _Moment.RETURN, past


def _call_facts(call: PastCall, turn: int) -> ToolCallFacts:
    return ToolCallFacts(call.tool, turn, call.argument_count, call.argument_bytes, call.argument_head)
