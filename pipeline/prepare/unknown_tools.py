"""Tool calls renamed to tools that never occurred before: training rows for the fallback of unknown tools.

A tool is unknown only until its first call, so traces have next to no rows of unknown tools. Models would then take an
unknown tool for the tools of its hash bucket. The calls of some sessions therefore get a name of their own each (leave
one tool out), among the other sessions unchanged. A new name keeps the tool's family.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ...data.tables.splits import position
from ...models.learning.training_set import TrainingSet, read_training_set
from ...models.serving.target import TOOL_DURATION
from .training_turns import TrainingTurn

TABLE = f"{TOOL_DURATION.name}_unknown"
"""The name of the training table of these rows."""
SHARE = 0.25  # of the split groups, chosen by a hash


def read_unknown_tools(folder: Path) -> TrainingSet | None:
    """The table; None where `prepare` renamed no call. Raises TrainingError for an unusable table."""
    path = folder / f"{TABLE}.parquet"
    return read_training_set(path, TOOL_DURATION) if path.is_file() else None


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
