"""AugServe's own recordings: the recorder's Parquet files, verified and streamed in batches.

A file's name begins with its table's (`turns-….parquet`). A row keeps its source unless the import names one.
"""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import BinaryIO, cast, get_args

from ..tables.files import TableName, TraceError, read_rows
from .contract import Context, Record
from .reading.members import Member

_NAMES: tuple[TableName, ...] = get_args(TableName)
_COPY_BYTES = 1 << 20


def import_records(members: Iterable[Member], context: Context) -> Iterator[Record]:
    for member in members:
        context.problems.position = member.name
        file = PurePosixPath(member.name).name
        name = next((name for name in _NAMES if file.startswith(name)), None)
        if name is None:
            context.problems.note(f"files named after none of {', '.join(_NAMES)}")
            continue
        try:
            for row in read_rows(_seekable(member), member.name, name):
                yield name, row
        except TraceError as error:
            context.problems.skip(member.name, str(error).removeprefix(f"{member.name}: "))


def _seekable(member: Member) -> BinaryIO:
    """Parquet is read from its end, so a stream that cannot seek is copied to the disk first."""
    if member.stream.seekable():
        return member.stream
    copy = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115  lives as long as its reader
    while part := member.stream.read(_COPY_BYTES):
        copy.write(part)
    copy.seek(0)
    return copy
