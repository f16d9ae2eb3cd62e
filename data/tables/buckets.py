"""Cuts sets of traces into buckets of whole session trees, so that one bucket at a time fits the memory."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from tqdm import tqdm

from .ancestry import SessionKey, root
from .files import TableName, count_rows, read_batches
from .schema import TABLES

BUCKET_TURNS = 200_000
"""Joined turns take up to 10 KB each in Python."""
_COLUMN = "bucket"
_NAMES: tuple[TableName, ...] = ("turns", "tool_calls")


def bucketed(folders: Sequence[Path], into: Path, bucket_turns: int = BUCKET_TURNS) -> list[list[Path]]:
    """Groups of folders that together hold the turns and calls of `folders`, each session tree in one group.

    Where all turns fit one bucket, that is `folders`; otherwise the buckets are written below `into`. A tree is in the
    bucket of its root's hash. Raises TraceError for an unusable file.
    """
    turns = sum(count_rows(folder, "turns") for folder in folders)
    count = -(-turns // bucket_turns)
    if count <= 1:
        return [list(folders)]
    parents = _parents(folders)
    for name in _NAMES:
        schema = TABLES[name].append(pa.field(_COLUMN, pa.int32()))
        ds.write_dataset(
            _numbered(folders, name, parents, count),
            into,
            schema=schema,
            format="parquet",
            partitioning=[_COLUMN],
            basename_template=f"{name}-{{i}}.parquet",
            existing_data_behavior="overwrite_or_ignore",
            max_open_files=count + 1,
            use_threads=False,
        )
    return [[folder] for folder in sorted(into.iterdir())]


def _parents(folders: Sequence[Path]) -> dict[SessionKey, SessionKey]:
    """The parents of sub-agents: few beside the turns."""
    columns = ["source", "session_id", "parent_session_id"]
    parents: dict[SessionKey, SessionKey] = {}
    for batch in read_batches(folders, "turns", columns):
        named = batch.filter(pc.field("parent_session_id").is_valid())
        for source, session, parent in zip(*(named.column(name).to_pylist() for name in columns), strict=True):
            parents[source, session] = source, parent
    return parents


def _numbered(
    folders: Sequence[Path], name: TableName, parents: Mapping[SessionKey, SessionKey], count: int
) -> Iterator[pa.RecordBatch]:
    """Batches of a table with the number of each row's bucket."""
    with tqdm(desc=f"sort {name}", unit="row", unit_scale=True) as bar:
        for batch in read_batches(folders, name):
            keys = batch.select(["source", "session_id"]).combine_chunks()
            sources, sessions = (keys.column(column).to_pylist() for column in ("source", "session_id"))
            known: dict[SessionKey, int] = {}
            for key in zip(sources, sessions, strict=True):
                if key not in known:
                    known[key] = _bucket(key, parents, count)
            numbers = np.fromiter(map(known.__getitem__, zip(sources, sessions, strict=True)), np.int32, len(batch))
            yield from batch.append_column(_COLUMN, pa.array(numbers)).to_batches()
            bar.update(len(batch))


def _bucket(session: SessionKey, parents: Mapping[SessionKey, SessionKey], count: int) -> int:
    return crc32("\0".join(root(session, parents)).encode("utf-8", "surrogatepass")) % count
