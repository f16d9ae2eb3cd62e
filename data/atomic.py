"""Writes files and folders that appear whole or not at all."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_file(path: Path, mode: int = 0o644) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`. It replaces `path` on success, with these permissions, and is
    removed on an exception."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write JSON with sorted keys, so that equal values give equal bytes. Raises ValueError for NaN."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def replace_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write into a temporary folder, which then replaces `path`. The old folder is moved away first and
    deleted last, so that a whole one lies there at any time but between two renames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    old = temporary.with_name(f"{temporary.name}.old")
    try:
        fill(temporary)
        temporary.chmod(0o755)
        if path.exists():
            path.rename(old)
        try:
            temporary.replace(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise
    finally:
        for left in (temporary, old):
            shutil.rmtree(left, ignore_errors=True)
