"""What only a whole session or a whole source tells of its turns: the values of the session targets."""

import math
from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ...features.past import arrival
from .training_turns import Remaining, TrainingTurn
from .unknown_tools import renamed

REAL_CLOCK_S = 1e8
"""A set with earlier times has no Unix clock: its clock begins at 0."""
OPEN_PAUSE_QUANTILE = 0.9
"""A session that ends closer to its source's end than this quantile of the source's pauses may have gone on."""


def with_remaining_work(turns: Iterable[TrainingTurn]) -> list[TrainingTurn]:
    """The turns of whole sessions, each with the session's work from its arrival on, and the last arrival marked."""
    sessions: dict[tuple[str, str], list[TrainingTurn]] = defaultdict(list)
    for turn in turns:
        sessions[turn.source, turn.past.session_id].append(turn)
    return [turn for session in sessions.values() for turn in _session_work(session)]


def _session_work(session: Sequence[TrainingTurn]) -> list[TrainingTurn]:
    session = sorted(session, key=lambda turn: turn.past.facts.turn)
    last = session[-1].past
    latest = max(session, key=lambda turn: arrival(turn.past))
    work = []
    tokens = 0
    for left, turn in enumerate(reversed(session), start=1):
        remaining = Remaining(left, tokens, last.finish_s, last.pause is not None, last=left == 1)
        work.append(replace(turn, past=replace(turn.past, last=turn is latest), remaining=remaining))
        context = 0 if left == len(session) else _context_tokens(session[-left - 1])
        tokens += turn.past.output_tokens + max(turn.past.facts.prompt_tokens - context, 0)
    return work[::-1]


def _context_tokens(turn: TrainingTurn) -> int:
    return turn.past.facts.prompt_tokens + turn.past.output_tokens


@dataclass(slots=True)
class SourceFacts:
    """What is known of a source once all of its turns are read."""

    turns: int = 0
    calls_recorded: bool = False
    sessions_recorded: bool = False  # any session has a second turn
    tools_renamed: bool = False  # unknown_tools.py has pauses to rename
    first_s: float = math.inf
    end_s: float = -math.inf
    pauses_s: "array[float]" = field(default_factory=lambda: array("d"))

    def add(self, turn: TrainingTurn) -> None:
        """`turn` has its remaining work."""
        past = turn.past
        self.turns += 1
        self.calls_recorded |= turn.ends_in_tool
        self.sessions_recorded |= turn.remaining is not None and turn.remaining.turns > 1
        self.first_s = min(self.first_s, past.arrival_s)
        self.end_s = max(self.end_s, past.arrival_s, past.finish_s or 0.0)
        if past.pause is not None:
            self.pauses_s.append(past.pause.pause_s)
            self.tools_renamed |= renamed(turn)

    def complete_until_s(self) -> float:
        """A session that ends later may have gone on after the recording; infinity without a Unix clock.

        So in a set with a Unix clock a session is open that ends in a tool call, or within one long pause
        (OPEN_PAUSE_QUANTILE) of the recording's end. Other sets are complete.
        """
        if self.first_s < REAL_CLOCK_S:
            return math.inf
        return self.end_s - float(np.quantile(self.pauses_s, OPEN_PAUSE_QUANTILE)) if self.pauses_s else self.end_s
