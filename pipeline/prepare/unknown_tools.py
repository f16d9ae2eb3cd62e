"""Calls once more, as if each were of a tool that nobody had called before: what the fallback for such tools is learned
and calibrated from.

Every tool of a trace is known after its first call, so that the traces alone hold next to no row of an unknown one, and
models then take it for the tools whose hash bucket it falls into. So the calls of some sessions are renamed, each to a
name of its own (leave one tool out), and replayed among the other sessions as they were. A name keeps its family.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ...data.tables.splits import position
from ...models.learning.training_set import TrainingSet, read_training_set
from ...models.serving.target import TOOL_DURATION
from .training_turns import TrainingTurn

TABLE = f"{TOOL_DURATION.name}_unknown"
"""The training table of these rows, beside those of the targets."""
SHARE = 0.25  # of the split groups, chosen by a hash


def read_unknown_tools(folder: Path) -> TrainingSet | None:
    """The table; None where `prepare` found no call to rename. Raises TrainingError for an unfit one."""
    path = folder / f"{TABLE}.parquet"
    return read_training_set(path, TOOL_DURATION) if path.is_file() else None


def with_unknown_tools(turns: Sequence[TrainingTurn]) -> list[TrainingTurn]:
    """The turns, with the calls of the chosen sessions renamed."""
    return [_with_new_names(turn) if renamed(turn) else turn for turn in turns]


def renamed(turn: TrainingTurn) -> bool:
    """Whether the turn's session is among the chosen: all sessions of a split group are, or none."""
    return position(turn.split_group, "unknown tools: ") < SHARE


def _with_new_names(turn: TrainingTurn) -> TrainingTurn:
    past = turn.past
    if past.pause is None:
        return turn
    key = f"{past.session_id}-{past.facts.turn}"
    calls = tuple(dataclasses.replace(call, tool=f"{call.tool}?{key}") for call in past.pause.calls)
    return dataclasses.replace(turn, past=dataclasses.replace(past, pause=dataclasses.replace(past.pause, calls=calls)))
