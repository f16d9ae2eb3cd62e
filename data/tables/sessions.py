"""Recorded sessions: the tables `turns` and `tool_calls`, joined."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from .files import TableName, TraceError, read_table
from .restarts import Restarts

_VECTORS = ("tail_counts", "features")
_TIMES = ("arrival_s", "finish_s", "start_s", "duration_s")


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """A tool call; its fields are columns of the table `tool_calls` (schema.py)."""

    tool: str
    start_s: float
    duration_s: float
    timing: str
    argument_count: int | None
    argument_bytes: int | None
    argument_head: str | None

    @property
    def end_s(self) -> float:
        return self.start_s + self.duration_s


@dataclass(frozen=True, slots=True)
class RecordedTurn:
    """A turn and its tool calls; the other fields are columns of the table `turns` (schema.py)."""

    source: str
    session_id: str  # one id a run of turn numbers (restarts.py)
    turn: int
    split_group: str  # the session's id as recorded, where the table names no group
    tenant: str | None
    model: str | None
    arrival_s: float
    finish_s: float | None
    prompt_tokens: int
    output_tokens: int
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    structured: bool | None
    finish_reason: str | None
    tools_offered: int | None
    tool_called: str | None
    features_version: int | None
    calls: tuple[RecordedCall, ...]  # by their number
    tail_counts: Sequence[int] | None = None
    features: Sequence[float | None] | None = None


def read_sessions(folders: Iterable[Path], vectors: bool = True) -> list[tuple[RecordedTurn, ...]]:
    """The sessions of all folders by source and id; each is its turns by number.

    A folder needs no table `tool_calls`. Without `vectors`, `tail_counts` and `features` are not read.
    Raises TraceError for an unusable file, a duplicate turn or tool call, and a time or duration that is not finite.
    """
    folders = list(folders)
    columns = [field.name for field in fields(RecordedTurn) if field.name != "calls"]
    rows = _rows(folders, "turns", [name for name in columns if vectors or name not in _VECTORS])
    restarts = Restarts(row for _, row in rows)
    calls = _calls_by_turn(folders, restarts)
    sessions: dict[tuple[str, str], dict[int, RecordedTurn]] = defaultdict(dict)
    for folder, row in rows:
        row["split_group"] = row["split_group"] or row["session_id"]
        row["session_id"] = restarts.session_id(row, row["arrival_s"])
        source, session_id, turn = row["source"], row["session_id"], row["turn"]
        if turn in sessions[source, session_id]:
            raise TraceError(f"{folder}: turn {turn} of session {session_id!r} is there twice; remove one")
        made = calls.get((source, session_id, turn), {})
        sessions[source, session_id][turn] = RecordedTurn(**row, calls=tuple(made[call] for call in sorted(made)))
    return [tuple(turns[turn] for turn in sorted(turns)) for _, turns in sorted(sessions.items())]


def _calls_by_turn(folders: Sequence[Path], restarts: Restarts) -> dict[tuple[str, str, int], dict[int, RecordedCall]]:
    """Calls by number, by (source, session, turn)."""
    keys = ("source", "session_id", "turn", "call")
    columns = [field.name for field in fields(RecordedCall)]
    calls: dict[tuple[str, str, int], dict[int, RecordedCall]] = defaultdict(dict)
    with_calls = [folder for folder in folders if any(folder.glob("tool_calls*.parquet"))]
    for folder, row in _rows(with_calls, "tool_calls", [*keys, *columns]):
        session_id, turn, call = restarts.session_id(row, row["start_s"]), row["turn"], row["call"]
        made = calls[row["source"], session_id, turn]
        if call in made:
            raise TraceError(
                f"{folder}: call {call} of turn {turn} of session {session_id!r} is there twice; remove one"
            )
        made[call] = RecordedCall(**{name: row[name] for name in columns})
    return calls


def _rows(folders: Sequence[Path], name: TableName, columns: Sequence[str]) -> list[tuple[Path, dict[str, Any]]]:
    """Rows of the folders' tables, each with its folder. Raises TraceError for a time that is not finite."""
    rows: list[tuple[Path, dict[str, Any]]] = []
    for folder in folders:
        table = read_table(folder, name).select(list(columns))
        for column in set(columns) & set(_TIMES):
            if not np.isfinite(table.column(column).drop_null().to_numpy()).all():
                raise TraceError(
                    f"{folder}: column {column!r} of table {name} holds NaN or infinity; correct its writer"
                )
        rows += [(folder, row) for row in table.to_pylist()]
    return rows
