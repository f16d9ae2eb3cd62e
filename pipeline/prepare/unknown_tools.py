"""Tool calls renamed to tools that never occurred before: training rows for the fallback of unknown tools.

A tool is unknown only until its first call, so traces have next to no rows of unknown tools. Models would then take an
unknown tool for the tools of its hash bucket. The calls of some sessions therefore get a name of their own each (leave
one tool out), among the other sessions unchanged. A new name keeps the tool's family.
"""

import dataclasses

from ...data.tables.splits import position
from .training_turns import TrainingTurn

SHARE = 0.25  # of the split groups, chosen by a hash


def renamed(turn: TrainingTurn) -> bool:
    """Whether the turn's split group is among the chosen ones."""
    return position(turn.split_group, "unknown tools: ") < SHARE


def with_new_names(turn: TrainingTurn) -> TrainingTurn:
    """The turn, with its calls renamed if its session is among the chosen ones."""
    past = turn.past
    if past.pause is None or not renamed(turn):
        return turn
    key = f"{past.session_id}-{past.facts.turn}"
    calls = tuple(dataclasses.replace(call, tool=f"{call.tool}?{key}") for call in past.pause.calls)
    return dataclasses.replace(turn, past=dataclasses.replace(past, pause=dataclasses.replace(past.pause, calls=calls)))
