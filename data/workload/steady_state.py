"""Makes a load steady from its start: sessions that began before it enter with their next turn."""

import dataclasses
from collections.abc import Iterable
from itertools import accumulate

from .model import Session, Turn
from .prefixes import prompt_prefixes

LEAD_S = 300.0
"""The time before the start in which sessions under way may have begun; few sessions take longer."""
NOMINAL_TOKEN_S = 0.02
"""Time of an output token on an unloaded engine: a nominal pace where nothing was measured."""


def under_way(sessions: Iterable[Session], start_s: float) -> tuple[Session, ...]:
    """The sessions from `start_s` on, which becomes time 0, without those that have ended by then."""
    entered = (_at(session, start_s) for session in sessions)
    return tuple(session for session in entered if session is not None)


def entered(session: Session, turn: int) -> Session:
    """The session from turn `turn` on, whose prompt is then the whole context, with the same token ids."""
    if turn == 0:
        return session
    prompt = session.prompt_tokens(turn)
    next_turn = dataclasses.replace(session.turns[turn], new_tokens=prompt, kept_tokens=None)
    turns = (next_turn, *session.turns[turn + 1 :])
    return dataclasses.replace(session, turns=turns, shared=prompt_prefixes(session, turn))


def nominal_pause_s(turn: Turn) -> float:
    """The time until all calls of a turn have returned, with sub-agents at the nominal pace."""
    agents = (call.duration_s + call.agent.arrival_s + nominal_s(call.agent) for call in turn.calls if call.agent)
    return max(turn.tools_s, *agents, 0.0)


def nominal_s(session: Session) -> float:
    """The time of a session at the nominal pace, on an unloaded engine."""
    return sum(turn.output_tokens * NOMINAL_TOKEN_S + nominal_pause_s(turn) for turn in session.turns)


def _at(session: Session, start_s: float) -> Session | None:
    arrivals_s = accumulate(
        (turn.output_tokens * NOMINAL_TOKEN_S + nominal_pause_s(turn) for turn in session.turns[:-1]),
        initial=session.arrival_s - start_s,
    )
    for number, arrival_s in enumerate(arrivals_s):
        if arrival_s >= 0:
            return dataclasses.replace(entered(session, number), arrival_s=arrival_s)
    return None
