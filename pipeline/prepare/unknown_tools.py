"""Tool calls renamed to tools that never occurred before: training rows for the fallback of unknown tools.

A tool is unknown only until its first call, so traces have next to no rows of unknown tools. Models would then take an
unknown tool for the tools of its hash bucket. The calls of some sessions therefore get a name of their own each (leave
one tool out), among the other sessions unchanged. A new name keeps the tool's family.
"""

import dataclasses
from collections.abc import Sequence

from ...data.tables.splits import position
from .training_turns import TrainingTurn

SHARE = 0.25  # of the split groups, chosen by a hash


def with_unknown_tools(turns: Sequence[TrainingTurn]) -> list[TrainingTurn]:
    """The turns, with the calls of the chosen sessions renamed."""
    return [_with_new_names(turn) if renamed(turn) else turn for turn in turns]


def renamed(turn: TrainingTurn) -> bool:
    """Whether the turn's split group is among the chosen ones."""
    return position(turn.split_group, "unknown tools: ") < SHARE


def _with_new_names(turn: TrainingTurn) -> TrainingTurn:
    past = turn.past
    if past.pause is None:
        return turn
    key = f"{past.session_id}-{past.facts.turn}"
    calls = tuple(dataclasses.replace(call, tool=f"{call.tool}?{key}") for call in past.pause.calls)
    return dataclasses.replace(turn, past=dataclasses.replace(past, pause=dataclasses.replace(past.pause, calls=calls)))
