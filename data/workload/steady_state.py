"""Makes a load steady from its start: sessions that began before it enter with their next turn."""

import dataclasses
from collections.abc import Iterable

from .model import Session

LEAD_S = 300.0
"""The time before the start in which sessions under way may have begun; few sessions take longer."""
NOMINAL_TOKEN_S = 0.02
"""Time of an output token on an unloaded engine: a nominal pace where nothing was measured."""


def under_way(sessions: Iterable[Session], start_s: float) -> tuple[Session, ...]:
    """The sessions from `start_s` on, which becomes time 0, without those that have ended by then."""
    entered = (_enter(session, start_s) for session in sessions)
    return tuple(session for session in entered if session is not None)


def _enter(session: Session, start_s: float) -> Session | None:
    arrival_s = session.arrival_s - start_s
    for index, turn in enumerate(session.turns):
        if arrival_s >= 0:
            first = dataclasses.replace(turn, new_tokens=session.prompt_tokens(index))
            return dataclasses.replace(session, arrival_s=arrival_s, turns=(first, *session.turns[index + 1 :]))
        if turn.tool_call is not None:
            arrival_s += turn.output_tokens * NOMINAL_TOKEN_S + turn.tool_call.duration_s
    return None
