"""Writes the rows of an import into the three tables of one folder, as a stream."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from ...tables.files import TableName, TraceError, parquet_options, rows_to_table
from ...tables.schema import TABLES
from ..contract import Record
from ..reading.problems import Problems
from .checks import block_fault, fault, pause_note
from .seen_keys import SeenKeys

Row = dict[str, Any]
PlacedRow = tuple[str, Row]  # with the position that names it in a problem
BATCH_ROWS = 8192
BATCH_VALUES = 1 << 21  # values in lists (token ids, features), so that a batch of long texts stays small
_NAMES: tuple[TableName, ...] = get_args(TableName)
_KEYS = {"turns": ("session_id", "turn"), "tool_calls": ("session_id", "turn", "call"), "steps": ("step",)}
_STARTS = {"turns": "arrival_s", "tool_calls": "start_s"}
_DUPLICATES = {"turns": "duplicate session and turn", "tool_calls": "duplicate tool call", "steps": "duplicate step"}


class TraceWriter:
    """Writes `turns`, `tool_calls` and `steps`, in row groups of at most BATCH_ROWS.

    A row that fails a check becomes a problem, as do the calls of such a turn; the other rows are written. Besides one
    batch, memory holds eight bytes a row to find duplicates. With `unique` there are no duplicates: the importer
    numbers the sessions itself, of one turn each. With `restarts`, rows of the same number are duplicates only if they
    start at the same time. `source` names the set; None keeps the source of a row, or else takes `default_source`.
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
                pq.ParquetWriter(folder / f"{name}.parquet", TABLES[name], **parquet_options(name))
            )
            for name in _NAMES
        }
        self._batch: dict[TableName, list[PlacedRow]] = {name: [] for name in _NAMES}
        self._batch_values = 0
        self._written = {name: SeenKeys() for name in _NAMES}
        self._refused_turns = SeenKeys()
        self._last_turn: tuple[str, int, float, float | None] = ("", 0, 0.0, None)

    def write(self, records: Iterable[Record]) -> None:
        """Write all records and close the files. Raises ImportingError for the first problem when strict."""
        with self._stack:
            for name, mapping in records:
                row = dict(mapping)
                row["source"] = self._source or row.get("source") or self._default_source
                self._add(name, row)
            self._flush()

    def _add(self, name: TableName, row: Row) -> None:
        position = self._problems.position
        cause = fault(name, row) or (self._backwards(row) if name == "turns" else None)
        if cause is not None:
            self._refuse(name, position, row, cause)
            return
        if name == "turns" and (cause := block_fault(row)) is not None:
            self._problems.skip(_where(name, position, row), cause)
            row |= dict.fromkeys(("block_hashes", "block_tokens", "block_scope"))
        self._batch[name].append((position, row))
        self._batch_values += sum(len(value) for value in row.values() if isinstance(value, list | tuple))
        if len(self._batch[name]) >= BATCH_ROWS or self._batch_values >= BATCH_VALUES:
            self._flush()

    def _backwards(self, row: Row) -> str | None:
        """A turn must not arrive before the previous turn of its session, where that is the row before."""
        session_id, turn, arrival_s, finish_s = self._last_turn
        if row["session_id"] == session_id and row["turn"] > turn:
            if row["arrival_s"] < arrival_s:
                return "the clock goes backwards: arrival before the turn before"
            if (note := pause_note(arrival_s if finish_s is None else finish_s, row["arrival_s"])) is not None:
                self._problems.note(note)
        self._last_turn = (row["session_id"], row["turn"], row["arrival_s"], row.get("finish_s"))
        return None

    def _refuse(self, name: TableName, position: str, row: Row, cause: str) -> None:
        if name == "turns" and isinstance(row.get("session_id"), str) and isinstance(row.get("turn"), int):
            self._refused_turns.add([_key("turns", row)])
        self._problems.skip(_where(name, position, row), cause)

    def _flush(self) -> None:
        """Write the batches of all tables, turns first, so that calls follow the fate of their turn."""
        for name in _NAMES:
            rows, self._batch[name] = self._batch[name], []
            for table in self._tables(name, rows if self._unique else self._distinct(name, rows)):
                self._files[name].write_table(table)
        self._batch_values = 0

    def _distinct(self, name: TableName, rows: Sequence[PlacedRow]) -> list[PlacedRow]:
        """The rows without duplicates, and without calls of refused turns."""
        duplicates = self._written[name].add([self._identity(name, row) for _, row in rows])
        turns = [_key("turns", row) if name == "tool_calls" else None for _, row in rows]
        orphans = self._refused_turns.contains(turns)
        distinct = []
        for (position, row), duplicate, orphan in zip(rows, duplicates, orphans, strict=True):
            if duplicate or orphan:
                cause = _DUPLICATES[name] if duplicate else "its turn was skipped"
                self._problems.skip(_where(name, position, row), cause)
            else:
                distinct.append((position, row))
        return distinct

    def _identity(self, name: TableName, row: Row) -> tuple[Any, ...]:
        key = (*_key(name, row), row.get("engine"))  # each engine numbers turns and steps itself
        return (*key, row[_STARTS[name]]) if self._restarts and name in _STARTS else key

    def _tables(self, name: TableName, rows: Sequence[PlacedRow]) -> list[pa.Table]:
        """The rows as tables; a row that does not fit the schema is refused."""
        if not rows:
            return []
        try:
            return [rows_to_table(name, [row for _, row in rows])]
        except TraceError:
            if len(rows) == 1:
                self._refuse(name, *rows[0], "a value of the wrong type or range")
                return []
            middle = len(rows) // 2
            return self._tables(name, rows[:middle]) + self._tables(name, rows[middle:])


def _key(name: str, row: Row) -> tuple[Any, ...]:
    return (row.get("source"), *(row.get(column) for column in _KEYS[name]))


def _where(name: str, position: str, row: Row) -> str:
    key = " ".join(f"{column}={row[column]!r}" for column in _KEYS[name] if row.get(column) is not None)
    return f"{position} ({key})" if position else key
