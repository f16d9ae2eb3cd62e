"""A load that is steady from its start: sessions that had begun before it enter with the turn that is theirs next."""

import dataclasses
from collections.abc import Iterable

from .model import Session

LEAD_S = 300.0
"""How long before the start the oldest of the sessions under way may have begun; few live longer."""
NOMINAL_TOKEN_S = 0.02
"""Time an output token takes an unloaded engine: how far sessions had come before the start."""


def under_way(sessions: Iterable[Session], start_s: float) -> tuple[Session, ...]:
    """The sessions as they go on from `start_s`, which becomes time 0; those that have ended by then are left out."""
    entered = (_enter(session, start_s) for session in sessions)
    return tuple(session for session in entered if session is not None)


def _enter(session: Session, start_s: float) -> Session | None:
    """The session as it goes on from `start_s`, which becomes time 0; None where it has ended."""
    arrival_s = session.arrival_s - start_s
    for turn, facts in enumerate(session.turns):
        if arrival_s >= 0:
            first = dataclasses.replace(facts, new_tokens=session.prompt_tokens(turn))
            return dataclasses.replace(session, arrival_s=arrival_s, turns=(first, *session.turns[turn + 1 :]))
        if facts.tool_call is not None:
            arrival_s += facts.output_tokens * NOMINAL_TOKEN_S + facts.tool_call.duration_s
    return None
