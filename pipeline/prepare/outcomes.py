"""The remaining work of each recorded session at each of its turns: the values of the session targets."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .training_turns import TrainingTurn

REAL_CLOCK_S = 1e8
"""A set with earlier times has no Unix clock: its clock begins at 0."""
TurnKey = tuple[str, int]  # session, turn
OPEN_PAUSE_QUANTILE = 0.9
"""A session that ends closer to its source's end than this quantile of the source's pauses may have gone on."""


@dataclass(frozen=True, slots=True)
class Remaining:
    """The work of a session from a turn's arrival on."""

    turns: int  # this turn included
    tokens: int  # output and new prompt tokens of the turns after this one
    censored: bool  # the session went on, or may have: both counts are lower bounds
    last: bool


def remaining_work(turns: Sequence[TrainingTurn]) -> Mapping[TurnKey, Remaining]:
    """The remaining work by session and turn, for the turns of one source.

    A session is censored if its last turn did not finish. In a set with a Unix clock it is also censored if it ends in
    a tool call, or within one long pause (OPEN_PAUSE_QUANTILE) of the recording's end. Other sets are complete.
    """
    sessions: dict[str, list[TrainingTurn]] = defaultdict(list)
    for turn in turns:
        sessions[turn.past.session_id].append(turn)
    complete_until_s = _complete_until_s(turns)
    work: dict[TurnKey, Remaining] = {}
    for name, session in sessions.items():
        session.sort(key=lambda turn: turn.past.facts.turn)
        last = session[-1].past
        censored = last.finish_s is None or (
            complete_until_s < math.inf and (last.pause is not None or last.finish_s > complete_until_s)
        )
        tokens = 0
        for left, turn in enumerate(reversed(session), start=1):
            work[name, turn.past.facts.turn] = Remaining(left, tokens, censored, last=left == 1)
            context = 0 if left == len(session) else _context_tokens(session[-left - 1])
            tokens += turn.past.output_tokens + max(turn.past.facts.prompt_tokens - context, 0)
    return work


def _context_tokens(turn: TrainingTurn) -> int:
    return turn.past.facts.prompt_tokens + turn.past.output_tokens


def _complete_until_s(turns: Sequence[TrainingTurn]) -> float:
    """A session that ends after this time may have gone on after the recording; infinity without a Unix clock."""
    if min(turn.past.arrival_s for turn in turns) < REAL_CLOCK_S:
        return math.inf
    pauses = [turn.past.pause.pause_s for turn in turns if turn.past.pause is not None]
    end_s = max(max(turn.past.arrival_s, turn.past.finish_s or 0.0) for turn in turns)
    return end_s - float(np.quantile(pauses, OPEN_PAUSE_QUANTILE)) if pauses else end_s
