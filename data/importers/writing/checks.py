"""The checks that a row must pass before it is written."""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from ...tables.files import TableName
from ...tables.schema import CLOCK_S, LONGEST_PAUSE_S, TABLES

Row = Mapping[str, Any]
_REQUIRED: dict[str, tuple[str, ...]] = {
    name: tuple(column.name for column in schema if not column.nullable and column.name != "source")
    for name, schema in TABLES.items()
}
_TIMES: dict[TableName, tuple[str, ...]] = {
    "turns": ("arrival_s", "first_token_s", "finish_s"),
    "tool_calls": ("start_s", "duration_s"),
    "steps": ("start_s", "step_s", "schedule_s"),
}
_NOT_NEGATIVE: dict[TableName, dict[str, str]] = {
    "turns": {
        "turn": "negative turn number",
        "prompt_tokens": "negative token count",
        "output_tokens": "negative token count",
    },
    "tool_calls": {"duration_s": "negative duration"},
    "steps": {"step_s": "negative duration", "schedule_s": "negative duration"},
}
_EVENTS = {"arrival_s": "arrival", "first_token_s": "first token", "finish_s": "finish"}


def fault(name: TableName, row: Row) -> str | None:
    """The first check that the row fails, as a fixed phrase; None where it passes all."""
    for column in _REQUIRED[name]:
        if row.get(column) is None:
            return f"no {column}"
    if not isinstance(row.get("session_id", ""), str) or not isinstance(row.get("turn", 0), int):
        return "a value of the wrong type"
    try:
        return _value_fault(name, row)
    except (TypeError, OverflowError):  # a text or a list in place of a number, or one beyond the floats
        return "a value of the wrong type"


def _value_fault(name: TableName, row: Row) -> str | None:
    times = {column: row[column] for column in _TIMES[name] if row.get(column) is not None}
    if not all(map(math.isfinite, times.values())):
        return "a time that is no number"
    for column, cause in _NOT_NEGATIVE[name].items():
        if row[column] < 0:
            return cause
    if name == "tool_calls" and row["duration_s"] > LONGEST_PAUSE_S:
        return "a duration of more than 7 days"
    if name == "turns":
        for (earlier, earlier_s), (later, later_s) in pairwise(times.items()):
            if later_s < earlier_s:
                return f"the clock goes backwards: {_EVENTS[later]} before {_EVENTS[earlier]}"
    return None


def block_fault(row: Row) -> str | None:
    """Why the turn's block hashes cannot be those of its prompt, as a fixed phrase; None where they can."""
    hashes, block_tokens = row.get("block_hashes"), row.get("block_tokens")
    if hashes is None:
        return None
    if not isinstance(block_tokens, int) or block_tokens < 1:
        return "block hashes without a block's size: left out"
    if (len(hashes) - 1) * block_tokens >= row["prompt_tokens"] and len(hashes):
        return "more block hashes than the prompt has blocks: left out"
    return None


def pause_note(finish_s: float, arrival_s: float) -> str | None:
    """What is odd about the pause between a session's turns, as a fixed phrase; the turns are kept."""
    if arrival_s < finish_s - CLOCK_S:
        return "turns that begin before the turn before them ends"
    if arrival_s - finish_s > LONGEST_PAUSE_S:
        return "pauses of more than 7 days between turns"
    return None
