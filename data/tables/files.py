"""Reading and writing the three tables of a trace as Parquet, checked against their schemas."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from ..atomic import atomic_file
from .schema import SCHEMA_VERSION, TABLES

TableName = Literal["turns", "tool_calls", "steps"]
_VERSION_KEY = b"augserve.schema_version"
_BATCH_ROWS = 4096


class TraceError(ValueError):
    """A trace file or its rows are unusable; the message names the file, the cause and the remedy."""


def rows_to_table(name: TableName, rows: Sequence[Mapping[str, object]]) -> pa.Table:
    """Rows as a table of schema `name`. A missing nullable column is null.

    Raises TraceError for an unknown column, a missing value that the schema requires, or an ill-typed value.
    """
    schema = TABLES[name]
    if unknown := sorted({key for row in rows for key in row} - set(schema.names)):
        raise TraceError(f"{name}: unknown column {unknown[0]!r}; known are {', '.join(schema.names)}")
    try:
        table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    except (pa.ArrowException, TypeError) as error:
        raise TraceError(f"{name}: a row does not fit the schema: {_one_line(error)}; correct its writer") from error
    _check_nulls(name, table, name)
    return table


def write_table(path: Path, name: TableName, table: pa.Table) -> None:
    """Write `table` atomically as Parquet. Raises TraceError unless its columns are those of schema `name`."""
    _check_columns(str(path), table.schema, name)
    _check_nulls(str(path), table, name)
    with atomic_file(path) as temporary:
        pq.write_table(table.cast(TABLES[name]), temporary, compression="zstd")


def read_table(path: Path, name: TableName) -> pa.Table:
    """Read a Parquet file, or every `{name}*.parquet` of a folder in the files' order, as a table of schema `name`.

    Raises TraceError for a missing or unreadable file, another schema version, a missing, unknown or ill-typed column,
    and a null that the schema forbids.
    """
    files = sorted(path.glob(f"{name}*.parquet")) if path.is_dir() else [path]
    if not files:
        raise TraceError(f"{path}: no {name}*.parquet in this folder; gather traces first or correct the path")
    return pa.concat_tables([_read_file(file, name) for file in files])


def read_rows(stream: BinaryIO, where: str, name: TableName) -> Iterator[dict[str, object]]:
    """Rows of one Parquet file, with one batch at a time in memory; `stream` must be seekable.

    Raises TraceError as `read_table`, with `where` as the file's name.
    """
    try:
        for batch in pq.ParquetFile(stream).iter_batches(_BATCH_ROWS):
            yield from _checked(pa.Table.from_batches([batch]), where, name).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise TraceError(f"{where}: not a readable Parquet file: {_one_line(error)}; gather it again") from error


def _read_file(path: Path, name: TableName) -> pa.Table:
    try:
        table = pq.ParquetFile(path).read()
    except FileNotFoundError as error:
        raise TraceError(f"{path}: no such file; gather traces first or correct the path") from error
    except (OSError, pa.ArrowException) as error:
        raise TraceError(f"{path}: not a readable Parquet file: {_one_line(error)}; gather it again") from error
    return _checked(table, str(path), name)


def _checked(table: pa.Table, where: str, name: TableName) -> pa.Table:
    """The table in the order and types of schema `name`."""
    version = (table.schema.metadata or {}).get(_VERSION_KEY, b"none").decode("utf-8", "replace")
    if version != str(SCHEMA_VERSION):
        raise TraceError(f"{where}: trace schema version {version}, this release reads {SCHEMA_VERSION}; gather again")
    _check_columns(where, table.schema, name)
    try:
        table = table.select(TABLES[name].names).cast(TABLES[name])
    except (pa.ArrowException, ValueError) as error:
        raise TraceError(f"{where}: not a {name} table of this release: {_one_line(error)}; gather it again") from error
    _check_nulls(where, table, name)
    return table


def _check_columns(where: str, schema: pa.Schema, name: TableName) -> None:
    if missing := [column for column in TABLES[name].names if column not in schema.names]:
        raise TraceError(f"{where}: column {missing[0]!r} of table {name} is missing; gather it again")
    if unknown := [column for column in schema.names if column not in TABLES[name].names]:
        raise TraceError(f"{where}: unknown column {unknown[0]!r} in table {name}; gather it with this release")


def _check_nulls(where: str, table: pa.Table, name: TableName) -> None:
    for part in TABLES[name]:
        if not part.nullable and table.column(part.name).null_count:
            raise TraceError(f"{where}: column {part.name!r} of table {name} has empty values; correct its writer")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
