"""One table's rows as a series of Parquet files; the newest file is rewritten as it grows."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ...data.atomic import atomic_file
from ...data.tables.files import TableName, TraceError, rows_to_table
from ...data.tables.schema import TABLES


class TableFiles:
    """Files `<table>-<run>-<n>.parquet` in one folder, and in memory the rows that are not on disk yet.

    Each `write` replaces the newest file by a longer one. The next file begins when the newest one has `max_bytes` (in
    memory; Parquet is about three times smaller) or is `max_age_s` old. This bounds the work of one write.
    """

    def __init__(
        self,
        folder: Path,
        table: TableName,
        run: str,
        max_bytes: int,
        max_age_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self._table = table
        self._schema = TABLES[table]
        self._strings = [part.name for part in self._schema if pa.types.is_string(part.type)]
        self._run = run
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._clock = clock
        self._number = 0
        self._begun_s = clock()
        self._written = self._schema.empty_table()  # the rows of the newest file
        self._added: list[pa.Table] = []
        self._bytes = 0

    @property
    def path(self) -> Path:
        """The newest file, which may not exist yet."""
        return self.folder / f"{self._table}-{self._run}-{self._number:06d}.parquet"

    @property
    def unwritten(self) -> int:
        """Number of rows that are not on disk."""
        return sum(map(len, self._added))

    @property
    def full(self) -> bool:
        """Whether a write must succeed before rows may be added."""
        return self._bytes >= self._max_bytes

    def add(self, rows: pa.Table) -> None:
        if not self._bytes:
            self._begun_s = self._clock()
        self._added.append(rows)
        self._bytes += rows.nbytes

    def write(self) -> bool:
        """Write all rows to disk; True if that finished a file.

        Nobody but the owner may read them. Makes a missing folder, but not its parents. Raises OSError, and keeps the
        rows, if the folder is not writable.
        """
        if self._added:
            newest = pa.concat_tables([self._written, *self._added]).combine_chunks()
            self.folder.mkdir(0o700, exist_ok=True)
            with atomic_file(self.path, 0o600) as temporary:
                pq.write_table(newest, temporary, compression="zstd", use_dictionary=self._strings)
            self._written, self._added, self._bytes = newest, [], newest.nbytes
        if not self._bytes or not (self.full or self._clock() - self._begun_s >= self._max_age_s):
            return False
        self._written, self._bytes = self._schema.empty_table(), 0
        self._number += 1
        return True

    def forget(self) -> int:
        """Discard the rows that are not on disk, and return their number."""
        discarded = self.unwritten
        self._added, self._bytes = [], self._written.nbytes
        return discarded


def convert(table: TableName, rows: Sequence[dict[str, object]]) -> tuple[pa.Table, int]:
    """The rows that fit the table's schema, and the number of those that do not."""
    try:
        return rows_to_table(table, rows), 0
    except (TraceError, ValueError):  # ValueError: a text that is not valid Unicode
        fitting = []
        for row in rows:
            try:
                fitting.append(rows_to_table(table, [row]))
            except (TraceError, ValueError):
                continue
        return pa.concat_tables([TABLES[table].empty_table(), *fitting]), len(rows) - len(fitting)
