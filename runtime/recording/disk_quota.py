"""Keeps a recorder's folder below a size: the oldest finished files go first, and only files that a recorder wrote."""

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
"""A temporary file of that age is what a killed process left: writing takes less than a second."""


def run_name() -> str:
    """Part of the names of one recorder's files: no two write to the same one, not even on two hosts."""
    return f"{int(time.time())}-{os.urandom(4).hex()}"


def remove_oldest(folder: Path, max_bytes: int, keep: Collection[Path]) -> int:
    """Remove recorders' files, last written first, until all of them hold `max_bytes` at most; those of `keep` stay.
    What a killed process left half written goes too. Gives the number of removed files; raises nothing for a folder
    that is gone, OSError for one that cannot be read."""
    kept = {path.name for path in keep}
    found: list[tuple[int, str, int]] = []
    removed = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            temporary = _TEMPORARY.fullmatch(entry.name)
            if not (temporary or _FILE.fullmatch(entry.name)):
                continue
            with contextlib.suppress(FileNotFoundError):  # another recorder's, replaced or removed meanwhile
                facts = entry.stat(follow_symlinks=False)
                if not entry.is_file(follow_symlinks=False):
                    continue
                if not temporary:
                    found.append((facts.st_mtime_ns, entry.name, facts.st_size))
                elif time.time() - facts.st_mtime > STALE_S:
                    Path(entry.path).unlink(missing_ok=True)
                    removed += 1
    total = sum(size for _, _, size in found)
    for _, name, size in sorted(found):
        if total <= max_bytes:
            break
        if name not in kept:
            (folder / name).unlink(missing_ok=True)
            total -= size
            removed += 1
    return removed
