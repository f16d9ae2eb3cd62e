"""Keeps a recorder's folder below a size and an age: removes the oldest finished files, and only files of recorders."""

import contextlib
import os
import re
import time
from collections.abc import Collection
from pathlib import Path

from ...data.tables.schema import TABLES

_FILE = re.compile(rf"(?:{'|'.join(TABLES)})-\d+-[0-9a-f]{{8}}-\d{{6,}}\.parquet")
_TEMPORARY = re.compile(rf"\.{_FILE.pattern}\..+")
STALE_S = 3600.0
"""Age at which a temporary file must be from a killed process: a write takes less than a second."""


def run_name() -> str:
    """Part of the names of one recorder's files, unique across hosts."""
    return f"{int(time.time())}-{os.urandom(4).hex()}"


def remove_oldest(folder: Path, max_bytes: int, keep: Collection[Path], max_age_s: float = float("inf")) -> int:
    """Remove recorders' files, oldest first and never those of `keep`, until they take at most `max_bytes` together and
    all were written within `max_age_s`.

    Stale temporary files are removed too. Returns the number of removed files. A missing folder is no error; raises
    OSError for an unreadable one.
    """
    kept = {path.name for path in keep}
    files: list[tuple[int, str, int]] = []  # time of the last write, name, bytes
    removed = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            temporary = _TEMPORARY.fullmatch(entry.name)
            if not (temporary or _FILE.fullmatch(entry.name)):
                continue
            with contextlib.suppress(FileNotFoundError):  # another recorder replaced or removed it meanwhile
                facts = entry.stat(follow_symlinks=False)
                if not entry.is_file(follow_symlinks=False):
                    continue
                if not temporary:
                    files.append((facts.st_mtime_ns, entry.name, facts.st_size))
                elif time.time() - facts.st_mtime > STALE_S:
                    Path(entry.path).unlink(missing_ok=True)
                    removed += 1
    total = sum(size for _, _, size in files)
    young_ns = (time.time() - max_age_s) * 1e9
    for written_ns, name, size in sorted(files):
        if total <= max_bytes and written_ns >= young_ns:
            break
        if name not in kept:
            (folder / name).unlink(missing_ok=True)
            total -= size
            removed += 1
    return removed
