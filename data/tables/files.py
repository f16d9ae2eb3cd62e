"""Reading and writing the three tables of a trace as Parquet, checked against their schemas."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from ..atomic import atomic_file
from ..one_line import one_line
from .schema import ADDED_COLUMNS, SCHEMA_VERSION, TABLES

TableName = Literal["turns", "tool_calls", "steps"]
_VERSION_KEY = b"augserve.schema_version"
_BATCH_ROWS = 4096
_READABLE = range(min(ADDED_COLUMNS) - 1, SCHEMA_VERSION + 1)  # versions


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
    except (pa.ArrowException, TypeError, OverflowError, UnicodeEncodeError) as error:  # the last: a lone surrogate
        raise TraceError(f"{name}: a row does not fit the schema: {one_line(error)}; correct its writer") from error
    _check_nulls(name, table, name)
    return table


def write_table(path: Path, name: TableName, table: pa.Table) -> None:
    """Write `table` atomically as Parquet. Raises TraceError unless its columns are those of schema `name`."""
    _check_columns(str(path), table.schema.names, name, SCHEMA_VERSION)
    _check_nulls(str(path), table, name)
    with atomic_file(path) as temporary:
        pq.write_table(table.cast(TABLES[name]), temporary, **parquet_options(name))


def parquet_options(name: TableName) -> dict[str, Any]:
    """Options of pyarrow's Parquet writers for table `name`.

    Block hashes are mostly numbers in sequence, so they are stored as differences: in the Weka set 15.9 million hashes
    take 0.3 MB, against 4.4 MB with a dictionary.
    """
    leaves = {
        field.name: f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name
        for field in TABLES[name]
    }
    hashes = leaves.pop("block_hashes", None)
    encoding = None if hashes is None else {hashes: "DELTA_BINARY_PACKED"}
    return {"compression": "zstd", "use_dictionary": list(leaves.values()), "column_encoding": encoding}


def read_table(path: Path, name: TableName, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet file, or every `{name}*.parquet` of a folder in the files' order, as a table of schema `name`.

    `columns`: only these, in this order. Columns that a file's older version lacks are null.
    Raises TraceError for a missing or unreadable file, an unknown schema version, a missing, unknown or ill-typed
    column, and a null that the schema forbids.
    """
    files = table_files(path, name) if path.is_dir() else [path]
    if not files:
        raise TraceError(f"{path}: no {name}*.parquet in this folder; gather traces first or correct the path")
    return pa.concat_tables([_read_file(file, name, columns or TABLES[name].names) for file in files])


def table_files(folder: Path, name: TableName) -> list[Path]:
    """The files of a table in a folder; none in a folder that does not exist."""
    return sorted(folder.glob(f"{name}*.parquet"))


def count_rows(folder: Path, name: TableName) -> int:
    """Rows of a table in a folder. Raises TraceError for an unreadable file."""
    count = 0
    for file in table_files(folder, name):
        with _readable(str(file)):
            count += pq.read_metadata(file).num_rows
    return count


def read_rows(stream: BinaryIO, where: str, name: TableName) -> Iterator[dict[str, object]]:
    """Rows of one Parquet file, with one batch at a time in memory; `stream` must be seekable.

    Raises TraceError as `read_table`, with `where` as the file's name.
    """
    for table in _batches(stream, where, name, TABLES[name].names, _BATCH_ROWS):
        yield from table.to_pylist()


def read_batches(
    folders: Sequence[Path], name: TableName, columns: Sequence[str] | None = None, rows: int = 1 << 16
) -> Iterator[pa.Table]:
    """Tables of schema `name` of at most `rows` rows, over all files of the folders. Raises TraceError as read_table.

    `columns`: only these, in this order.
    """
    for folder in folders:
        for file in table_files(folder, name):
            yield from _batches(file, str(file), name, columns or TABLES[name].names, rows)


def _batches(
    source: Path | BinaryIO, where: str, name: TableName, columns: Sequence[str], rows: int
) -> Iterator[pa.Table]:
    with _readable(where):
        file = pq.ParquetFile(source)
        _check_file(where, file.schema_arrow, name)
        present = [column for column in columns if column in file.schema_arrow.names]
        for batch in file.iter_batches(rows, columns=present):
            yield _completed(pa.Table.from_batches([batch]), where, name, columns)


def _read_file(path: Path, name: TableName, columns: Sequence[str]) -> pa.Table:
    with _readable(str(path)):
        file = pq.ParquetFile(path)
        _check_file(str(path), file.schema_arrow, name)
        table = file.read([column for column in columns if column in file.schema_arrow.names])
    return _completed(table, str(path), name, columns)


@contextmanager
def _readable(where: str) -> Iterator[None]:
    """Raises TraceError where reading fails."""
    try:
        yield
    except FileNotFoundError as error:
        raise TraceError(f"{where}: no such file; gather traces first or correct the path") from error
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise TraceError(f"{where}: not a readable Parquet file: {one_line(error)}; gather it again") from error


def _completed(table: pa.Table, where: str, name: TableName, columns: Sequence[str]) -> pa.Table:
    """The table's `columns` in the types of schema `name`; those that an older version lacks are null."""
    schema = pa.schema([TABLES[name].field(column) for column in columns], TABLES[name].metadata)
    for column in schema:
        if column.name not in table.schema.names:
            table = table.append_column(column, pa.nulls(table.num_rows, column.type))
    try:
        table = table.select(schema.names).cast(schema)
    except (pa.ArrowException, ValueError) as error:
        raise TraceError(f"{where}: not a {name} table of this release: {one_line(error)}; gather it again") from error
    _check_nulls(where, table, name)
    return table


def _check_file(where: str, schema: pa.Schema, name: TableName) -> None:
    found = (schema.metadata or {}).get(_VERSION_KEY, b"none").decode("utf-8", "replace")
    if found not in map(str, _READABLE):
        raise TraceError(
            f"{where}: trace schema version {found}, this release reads {_READABLE[0]} to {_READABLE[-1]}; gather again"
        )
    _check_columns(where, schema.names, name, int(found))


def _check_columns(where: str, columns: Sequence[str], name: TableName, version: int) -> None:
    """Raises TraceError unless `columns` are those that schema `name` has had since `version`."""
    later = {column for added in range(version + 1, SCHEMA_VERSION + 1) for column in ADDED_COLUMNS[added]}
    if missing := [column for column in TABLES[name].names if column not in {*columns, *later}]:
        raise TraceError(f"{where}: column {missing[0]!r} of table {name} is missing; gather it again")
    if unknown := [column for column in columns if column not in TABLES[name].names]:
        raise TraceError(f"{where}: unknown column {unknown[0]!r} in table {name}; gather it with this release")


def _check_nulls(where: str, table: pa.Table, name: TableName) -> None:
    for column in table.schema.names:
        if not TABLES[name].field(column).nullable and table.column(column).null_count:
            raise TraceError(f"{where}: column {column!r} of table {name} has empty values; correct its writer")
