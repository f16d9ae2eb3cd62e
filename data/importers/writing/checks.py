"""What a row must satisfy before it is written: the cause why it does not, in a fixed phrase, or None."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from ...tables.files import TableName
from ...tables.schema import TABLES

Row = Mapping[str, Any]
_REQUIRED: dict[str, tuple[str, ...]] = {
    name: tuple(part.name for part in schema if not part.nullable and part.name != "source")
    for name, schema in TABLES.items()
}


def fault(name: TableName, row: Row) -> str | None:
    for column in _REQUIRED[name]:
        if row.get(column) is None:
            return f"no {column}"
    if not isinstance(row.get("session_id", ""), str) or not isinstance(row.get("turn", 0), int):
        return "a value of the wrong type"
    try:
        return _FAULTS[name](row)
    except TypeError:  # a text or a list where a number belongs
        return "a value of the wrong type"


def _turn_fault(row: Row) -> str | None:
    arrival_s, finish_s, first_token_s = row["arrival_s"], row.get("finish_s"), row.get("first_token_s")
    if not all(time_s is None or math.isfinite(time_s) for time_s in (arrival_s, finish_s, first_token_s)):
        return "a time that is no number"
    if row["turn"] < 0:
        return "negative turn number"
    if row["prompt_tokens"] < 0 or row["output_tokens"] < 0:
        return "negative token count"
    if finish_s is not None and finish_s < arrival_s:
        return "the clock goes backwards: finish before arrival"
    if first_token_s is not None and first_token_s < arrival_s:
        return "the clock goes backwards: first token before arrival"
    if first_token_s is not None and finish_s is not None and finish_s < first_token_s:
        return "the clock goes backwards: finish before first token"
    return None


def _call_fault(row: Row) -> str | None:
    if not (math.isfinite(row["start_s"]) and math.isfinite(row["duration_s"])):
        return "a time that is no number"
    return "negative duration" if row["duration_s"] < 0 else None


def _step_fault(row: Row) -> str | None:
    if not all(math.isfinite(row[column]) for column in ("start_s", "step_s", "schedule_s")):
        return "a time that is no number"
    return "negative duration" if row["step_s"] < 0 or row["schedule_s"] < 0 else None


_FAULTS: dict[TableName, Callable[[Row], str | None]] = {
    "turns": _turn_fault,
    "tool_calls": _call_fault,
    "steps": _step_fault,
}
