"""Deletes what a tenant left in a folder of recorded traces."""

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..atomic import atomic_file
from .files import TableName, parquet_options, read_table, table_files

MODE = 0o600
"""Permissions of the rewritten files: those of a recorder's."""


def forget_tenants(folder: Path, tenants: Collection[str]) -> int:
    """Delete the turns of these tenants, as the traces name them, and the tool calls of their sessions. Returns the
    number of deleted turns. No recorder may write to the folder meanwhile. Raises TraceError."""
    turns = {path: read_table(path, "turns") for path in table_files(folder, "turns")}
    theirs = {path: pc.is_in(table["tenant"], pa.array(list(tenants), pa.string())) for path, table in turns.items()}
    sessions = {name for path, table in turns.items() for name in table.filter(theirs[path])["session_id"].to_pylist()}
    for path in table_files(folder, "tool_calls"):
        calls = read_table(path, "tool_calls")
        _keep(
            path, "tool_calls", calls, pc.invert(pc.is_in(calls["session_id"], pa.array(list(sessions), pa.string())))
        )
    for path, table in turns.items():  # last, so that a broken run can be repeated
        _keep(path, "turns", table, pc.invert(theirs[path]))
    return sum(pc.sum(mask).as_py() or 0 for mask in theirs.values())


def _keep(path: Path, name: TableName, table: pa.Table, kept: pa.ChunkedArray) -> None:
    """Rewrite a file with the rows that are kept, or delete it where none is."""
    rest = table.filter(kept)
    if not rest.num_rows:
        path.unlink()
    elif rest.num_rows < table.num_rows:
        with atomic_file(path, MODE) as temporary:
            pq.write_table(rest, temporary, **parquet_options(name))
