"""Training rows on the disk until all sessions are known: only then are they split into parts."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...data.tables.splits import Part
from ...models.learning.training_set import (
    SCHEMA,
    TrainingError,
    TrainingSet,
    split_sessions,
    training_set_of,
    training_table,
    training_writer,
)
from ...models.serving.target import Target
from .examples import Example

SPOOLED_ROWS = 1 << 14
ROW_GROUP_ROWS = 1 << 20  # of the tables

Counts = dict[str, dict[str, dict[str, int]]]
"""By table, source and part."""


class Spool:
    """Collects the rows of each table, then writes the tables."""

    def __init__(self, folder: Path) -> None:
        self.censored: dict[str, Counter[str]] = defaultdict(Counter)  # rows by table and source
        self._folder = folder
        self._files = ExitStack()
        self._targets: dict[str, Target] = {}
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._waiting: dict[str, list[Example]] = {}
        self._groups: set[tuple[str, str]] = set()  # split groups by source

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._files.close()

    def open(self, name: str, target: Target) -> None:
        """Begin a table, which may stay empty."""
        if name not in self._targets:
            self._targets[name], self._waiting[name] = target, []
            path = self._folder / f"{name}.parquet"
            self._writers[name] = self._files.enter_context(pq.ParquetWriter(path, SCHEMA, compression="zstd"))

    def add(self, name: str, rows: Iterable[Example]) -> None:
        for row in rows:
            self._groups.add((row.source, row.split_group))
            self.censored[name][row.source] += row.censored
            self._waiting[name].append(row)
            if len(self._waiting[name]) >= SPOOLED_ROWS:
                self._flush(name)

    def write(self, folder: Path, validation_share: float, test_share: float) -> Counts:
        """Write the tables, with each session in the same part of all, and count their rows.

        Raises TrainingError for an empty table, and for a source with too few sessions.
        """
        for name in self._targets:
            self._flush(name)
        self._files.close()
        for name in self._targets:
            if not pq.read_metadata(self._folder / f"{name}.parquet").num_rows:
                raise TrainingError(
                    f"{name}: the traces hold no row to learn it from; gather more or raise prepare.mix_sessions"
                )
        parts = split_sessions(self._groups, validation_share, test_share)
        return {name: self._write(folder, name, parts) for name in self._targets}

    def _write(self, folder: Path, name: str, parts: Mapping[tuple[str, str], Part]) -> dict[str, dict[str, int]]:
        counts: Counter[tuple[str, str]] = Counter()
        with training_writer(folder / f"{name}.parquet", self._targets[name]) as writer:
            for data in self._parted(name, parts):
                counts.update(zip(data.sources.tolist(), data.parts.tolist(), strict=True))
                writer.write_table(training_table(data), row_group_size=ROW_GROUP_ROWS)
        by_source: dict[str, dict[str, int]] = {}
        for (source, part), count in sorted(counts.items()):
            by_source.setdefault(source, {})[part] = count
        return by_source

    def _parted(self, name: str, parts: Mapping[tuple[str, str], Part]) -> Iterator[TrainingSet]:
        file = pq.ParquetFile(self._folder / f"{name}.parquet")
        at = SCHEMA.get_field_index("part")
        for batch in file.iter_batches(ROW_GROUP_ROWS):
            keys = zip(batch.column("source").to_pylist(), batch.column("session_id").to_pylist(), strict=True)
            part = pa.array([parts[key] for key in keys], pa.string())
            table = pa.Table.from_batches([batch]).set_column(at, SCHEMA.field(at), part)
            yield training_set_of(table, self._targets[name], name)

    def _flush(self, name: str) -> None:
        rows, self._waiting[name] = self._waiting[name], []
        if rows:
            data = TrainingSet(
                target=self._targets[name],
                rows=np.stack([row.features for row in rows]),
                values=np.array([row.value for row in rows]),
                sources=np.array([row.source for row in rows]),
                sessions=np.array([row.split_group for row in rows]),
                parts=np.full(len(rows), ""),
                groups=np.array([row.group for row in rows]),
                censored=np.array([row.censored for row in rows], np.bool_),
            )
            self._writers[name].write_table(training_table(data))
