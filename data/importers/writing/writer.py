"""Rows of an import, checked and streamed into the three tables of one folder."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ...tables.files import TableName, TraceError, rows_to_table
from ...tables.schema import TABLES
from ..contract import Record
from ..reading.problems import Problems
from .checks import fault
from .durations import DurationHistograms
from .seen_keys import SeenKeys

Row = dict[str, Any]
BATCH_ROWS = 8192
BATCH_VALUES = 1 << 21  # of lists (token ids, features), so that a batch of long texts stays small
_NAMES: tuple[TableName, ...] = get_args(TableName)
_KEYS = {"turns": ("session_id", "turn"), "tool_calls": ("session_id", "turn", "call"), "steps": ("step",)}
_MOMENTS = {"turns": "arrival_s", "tool_calls": "start_s"}
_DUPLICATES = {"turns": "duplicate session and turn", "tool_calls": "duplicate tool call", "steps": "duplicate step"}


class TraceWriter:
    """Writes `turns`, `tool_calls` and `steps` into a folder, in row groups of at most BATCH_ROWS.

    A row that fails a check becomes a problem and the rest is written; a call of such a turn goes with it. Memory
    beside the batch: eight bytes a turn, call and step to find duplicates, eight a session to count them; nothing
    where `unique` says that the importer numbers the sessions itself and none has two turns. Where sessions have
    several `restarts` (restarts.py), what is numbered like another row but began at another time is no duplicate.
    `source` names the set of rows; None keeps the one that a row brings, otherwise `default_source`.
    """

    def __init__(
        self,
        folder: Path,
        source: str | None,
        default_source: str,
        problems: Problems,
        unique: bool,
        restarts: bool = False,
    ) -> None:
        self._source = source
        self._default_source = default_source
        self._problems = problems
        self._unique = unique
        self._restarts = restarts
        self._stack = ExitStack()
        self._files = {
            name: self._stack.enter_context(
                pq.ParquetWriter(folder / f"{name}.parquet", TABLES[name], compression="zstd")
            )
            for name in _NAMES
        }
        self._rows: dict[TableName, list[tuple[str, Row]]] = {name: [] for name in _NAMES}
        self._values = 0
        self._keys = {name: SeenKeys() for name in _NAMES}
        self._refused_turns = SeenKeys()
        self._sessions = SeenKeys()
        self._last: tuple[str, int, float] = ("", 0, 0.0)
        self.counts = dict.fromkeys(_NAMES, 0)
        self.start_s = np.inf
        self.end_s = -np.inf
        self.tools = DurationHistograms()

    @property
    def session_count(self) -> int:
        return self.counts["turns"] if self._unique else len(self._sessions)

    def write(self, records: Iterable[Record]) -> None:
        """Write all records and close the files. Raises ImportingError for the first problem where it is strict."""
        with self._stack:
            for name, mapping in records:
                row = dict(mapping)
                row["source"] = self._source or row.get("source") or self._default_source
                self._take(name, row)
            self._flush()

    def _take(self, name: TableName, row: Row) -> None:
        position = self._problems.position
        cause = fault(name, row) or (self._backwards(row) if name == "turns" else None)
        if cause is not None:
            self._refuse(name, position, row, cause)
            return
        self._rows[name].append((position, row))
        self._values += sum(len(value) for value in row.values() if isinstance(value, list | tuple))
        if len(self._rows[name]) >= BATCH_ROWS or self._values >= BATCH_VALUES:
            self._flush()

    def _backwards(self, row: Row) -> str | None:
        """A turn must not arrive before the one of its session that came just before it."""
        session_id, turn, arrival_s = self._last
        if row["session_id"] == session_id and row["turn"] > turn and row["arrival_s"] < arrival_s:
            return "the clock goes backwards: arrival before the turn before"
        self._last = (row["session_id"], row["turn"], row["arrival_s"])
        return None

    def _refuse(self, name: TableName, position: str, row: Row, cause: str) -> None:
        if name == "turns" and isinstance(row.get("session_id"), str) and isinstance(row.get("turn"), int):
            self._refused_turns.add([_key("turns", row)])
        self._problems.skip(_where(name, position, row), cause)

    def _flush(self) -> None:
        """All three tables together, turns first: a call knows then whether its turn was refused."""
        for name in _NAMES:
            rows, self._rows[name] = self._rows[name], []
            for part in self._fitting(name, self._distinct(name, rows)):
                self._files[name].write_table(part)
        self._values = 0

    def _distinct(self, name: TableName, rows: Sequence[tuple[str, Row]]) -> list[tuple[str, Row]]:
        orphans = self._orphans(rows) if name == "tool_calls" else np.zeros(len(rows), np.bool_)
        if self._unique:
            return list(rows)
        doubles = self._keys[name].add([self._one(name, row) for _, row in rows])
        kept = []
        for (position, row), double, orphan in zip(rows, doubles, orphans, strict=True):
            if double:
                self._problems.skip(_where(name, position, row), _DUPLICATES[name])
            elif orphan:
                self._problems.skip(_where(name, position, row), "its turn was skipped")
            else:
                kept.append((position, row))
        if name == "turns":
            self._sessions.add([(row["source"], row["session_id"]) for _, row in kept])
        return kept

    def _one(self, name: TableName, row: Row) -> tuple[Any, ...]:
        """By what a row is known to be there already."""
        key = _key(name, row)
        return (*key, row[_MOMENTS[name]]) if self._restarts and name in _MOMENTS else key

    def _orphans(self, rows: Sequence[tuple[str, Row]]) -> NDArray[np.bool_]:
        keys = (hash(_key("turns", row)) for _, row in rows)
        return self._refused_turns.holds(np.fromiter(keys, np.int64, len(rows)))

    def _fitting(self, name: TableName, rows: list[tuple[str, Row]]) -> list[pa.Table]:
        """The rows as tables; where one does not fit the schema, all that fit."""
        if not rows:
            return []
        try:
            table = rows_to_table(name, [row for _, row in rows])
        except TraceError:
            if len(rows) == 1:
                self._refuse(name, *rows[0], "a value of the wrong type or range")
                return []
            middle = len(rows) // 2
            return self._fitting(name, rows[:middle]) + self._fitting(name, rows[middle:])
        for _, row in rows:
            self._count(name, row)
        return [table]

    def _count(self, name: TableName, row: Row) -> None:
        self.counts[name] += 1
        if name == "turns":
            self.start_s = min(self.start_s, row["arrival_s"])
            self.end_s = max(self.end_s, row["arrival_s"], row.get("finish_s") or row["arrival_s"])
        elif name == "tool_calls":
            self.tools.add(row["tool"], row["duration_s"])


def _key(name: str, row: Row) -> tuple[Any, ...]:
    return (row.get("source"), *(row.get(column) for column in _KEYS[name]))


def _where(name: str, position: str, row: Row) -> str:
    key = " ".join(f"{column}={row[column]!r}" for column in _KEYS[name] if row.get(column) is not None)
    return f"{position} ({key})" if position else key
