"""Recorded sessions: the tables `turns` and `tool_calls`, joined."""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from .ancestry import SessionKey, root
from .files import TableName, TraceError, read_table
from .restarts import Restarts
from .schema import ToolCallRow, TurnRow

_VECTORS = ("tail_counts", "features")
_BLOCKS = "block_hashes"
_NOT_READ = ("calls", "prompt_token_ids", "output_token_ids")
_TIMES = ("arrival_s", "finish_s", "start_s", "duration_s")


class RecordedCall(ToolCallRow):
    __slots__ = ()

    @property
    def end_s(self) -> float:
        return self.start_s + self.duration_s


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTurn(TurnRow):
    """A turn and its tool calls.

    The session's id names one run of turn numbers (restarts.py), and so do the ids of its parent and of sub-agents. The
    split group is never null and is the same in a whole tree: it is the root's id as recorded, where the table names no
    group. Recorded token ids are not read. Block hashes, where they are read, are an array of 8 bytes each.
    """

    split_group: str
    calls: tuple[RecordedCall, ...]  # by their number


def read_sessions(
    folders: Iterable[Path], vectors: bool = True, blocks: bool = False
) -> list[tuple[RecordedTurn, ...]]:
    """The sessions of all folders by source and id; each is its turns by number. A sub-agent is a session of its own.

    A folder needs no table `tool_calls`. Without `vectors`, `tail_counts` and `features` are not read; with `blocks`,
    `block_hashes` are. Rows are as recorded: a parent may be missing.
    Raises TraceError for an unusable file, a duplicate turn or tool call, and a time or duration that is not finite.
    """
    folders = list(folders)
    columns = [field.name for field in fields(RecordedTurn) if field.name not in _NOT_READ]
    left_out = (() if vectors else _VECTORS) + (() if blocks else (_BLOCKS,))
    rows = _rows(folders, "turns", [name for name in columns if name not in left_out])
    restarts = Restarts(row for _, row in rows)
    groups = _split_groups((row for _, row in rows), restarts)
    calls = _calls_by_turn(folders, restarts)
    sessions: dict[SessionKey, dict[int, RecordedTurn]] = defaultdict(dict)
    for folder, row in rows:
        source, session_id, turn = row["source"], row["session_id"], row["turn"]
        if turn in sessions[source, session_id]:
            raise TraceError(f"{folder}: turn {turn} of session {session_id!r} is there twice; remove one")
        row["split_group"] = groups[source, session_id]
        made = calls.get((source, session_id, turn), {})
        sessions[source, session_id][turn] = RecordedTurn(**row, calls=tuple(made[call] for call in sorted(made)))
    return [tuple(turns[turn] for turn in sorted(turns)) for _, turns in sorted(sessions.items())]


def _split_groups(rows: Iterable[dict[str, Any]], restarts: Restarts) -> dict[SessionKey, str]:
    """The split group of each session: that of the root of its tree. Names the runs in each row's ids."""
    groups: dict[SessionKey, str] = {}
    parents: dict[SessionKey, SessionKey] = {}
    for row in rows:
        source, recorded, parent, arrival_s = (
            row[name] for name in ("source", "session_id", "parent_session_id", "arrival_s")
        )
        row["session_id"] = restarts.run_id(source, recorded, arrival_s)
        session = (source, row["session_id"])
        # Without a group of its own, a sub-agent whose parent is missing is in the group that the parent would have.
        groups[session] = row["split_group"] or parent or recorded
        if parent is not None:
            row["parent_session_id"] = restarts.run_id(source, parent, arrival_s)
            parents[session] = (source, row["parent_session_id"])
    known = {session: parent for session, parent in parents.items() if parent in groups}
    return {session: groups[root(session, known)] for session in groups}


def _calls_by_turn(folders: Sequence[Path], restarts: Restarts) -> dict[tuple[str, str, int], dict[int, RecordedCall]]:
    """Calls by number, by (source, session, turn)."""
    columns = [field.name for field in fields(RecordedCall)]
    calls: dict[tuple[str, str, int], dict[int, RecordedCall]] = defaultdict(dict)
    with_calls = [folder for folder in folders if any(folder.glob("tool_calls*.parquet"))]
    for folder, row in _rows(with_calls, "tool_calls", columns):
        source, turn, call = row["source"], row["turn"], row["call"]
        if restarts.moved(source, row["session_id"], row["start_s"], row["start_s"] + row["duration_s"]):
            continue  # the engine that recorded the pause did not see the turns in it
        session_id = restarts.run_id(source, row["session_id"], row["start_s"])
        if row["agent_session_id"] is not None:
            end_s = row["start_s"] + row["duration_s"]
            row["agent_session_id"] = restarts.run_id(source, row["agent_session_id"], end_s)
        made = calls[source, session_id, turn]
        if call in made:
            raise TraceError(
                f"{folder}: call {call} of turn {turn} of session {session_id!r} is there twice; remove one"
            )
        made[call] = RecordedCall(**row)
    return calls


def _rows(folders: Sequence[Path], name: TableName, columns: Sequence[str]) -> list[tuple[Path, dict[str, Any]]]:
    """Rows of the folders' tables, each with its folder. Raises TraceError for a time that is not finite."""
    rows: list[tuple[Path, dict[str, Any]]] = []
    for folder in folders:
        table = read_table(folder, name, columns)
        for column in set(columns) & set(_TIMES):
            if not np.isfinite(table.column(column).drop_null().to_numpy()).all():
                raise TraceError(
                    f"{folder}: column {column!r} of table {name} holds NaN or infinity; correct its writer"
                )
        hashes = table.column(_BLOCKS) if _BLOCKS in columns else None
        found = table.select([column for column in columns if column != _BLOCKS]).to_pylist()
        if hashes is not None:
            for row, blocks in zip(found, _arrays(hashes), strict=True):
                row[_BLOCKS] = blocks
        rows += [(folder, row) for row in found]
    return rows


def _arrays(column: pa.ChunkedArray) -> Iterator["array[int] | None"]:
    """The lists of a column of int64 lists, each as an array, without a Python object for each number."""
    for chunk in column.chunks:
        values, offsets = chunk.values.to_numpy(), chunk.offsets.to_numpy()
        for place, valid in enumerate(chunk.is_valid().to_numpy(zero_copy_only=False)):
            yield array("q", values[offsets[place] : offsets[place + 1]].tobytes()) if valid else None
