"""What came of each recorded turn: the values that the targets are learned from, and which are only lower bounds."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .training_turns import TrainingTurn

REAL_CLOCK_S = 1e8
"""Times below are no Unix time: the set's clock begins at 0."""
TurnKey = tuple[str, int]  # session, turn
OPEN_PAUSE_QUANTILE = 0.9
"""A session that ended closer to its source's end than this quantile of the source's pauses may have gone on."""


@dataclass(frozen=True, slots=True)
class Remaining:
    """What a session still had before it at a turn's arrival."""

    turns: int  # this one counted
    tokens: int  # output and new prompt tokens of the turns after this one
    censored: bool  # the session went on, or may have: both are only lower bounds
    last: bool


def remaining_work(turns: Sequence[TrainingTurn]) -> Mapping[TurnKey, Remaining]:
    """By session and turn, of one source's turns. A session is open where its last turn did not finish. In a set
    recorded live it is also where that turn called a tool that no turn came back from, and where the set ended too soon
    after it to tell; a set without a real clock was cut off nowhere: its sessions are as whole as they are told."""
    sessions: dict[str, list[TrainingTurn]] = defaultdict(list)
    for turn in turns:
        sessions[turn.past.session_id].append(turn)
    known_until_s = _known_until_s(turns)
    found: dict[TurnKey, Remaining] = {}
    for name, session in sessions.items():
        session.sort(key=lambda turn: turn.past.facts.turn)
        last = session[-1].past
        censored = last.finish_s is None or (
            known_until_s < math.inf and (last.pause is not None or last.finish_s > known_until_s)
        )
        tokens = 0
        for left, turn in enumerate(reversed(session), start=1):
            found[name, turn.past.facts.turn] = Remaining(left, tokens, censored, last=left == 1)
            context = 0 if left == len(session) else _context(session[-left - 1])
            tokens += turn.past.output_tokens + max(turn.past.facts.prompt_tokens - context, 0)
    return found


def _context(turn: TrainingTurn) -> int:
    return turn.past.facts.prompt_tokens + turn.past.output_tokens


def _known_until_s(turns: Sequence[TrainingTurn]) -> float:
    """A session without a turn after this moment may go on beyond the end of the trace; never without a real clock."""
    if min(turn.past.arrival_s for turn in turns) < REAL_CLOCK_S:
        return math.inf
    pauses = [turn.past.pause.pause_s for turn in turns if turn.past.pause is not None]
    end_s = max(max(turn.past.arrival_s, turn.past.finish_s or 0.0) for turn in turns)
    return end_s - float(np.quantile(pauses, OPEN_PAUSE_QUANTILE)) if pauses else end_s
