"""Small files of the metrics' folder, which an engine writes and the API servers of its host map into memory."""

import contextlib
import mmap
import os
from pathlib import Path

from ..data.atomic import atomic_file


class MappedFile:
    """The writer's end: `<pid><suffix>`. Raises OSError where the file cannot be made."""

    def __init__(self, folder: Path, suffix: str, content: bytes) -> None:
        self._path = folder / f"{os.getpid()}{suffix}"
        with atomic_file(self._path, 0o600) as temporary:
            temporary.write_bytes(content)
        with self._path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)

    def write(self, content: bytes) -> None:
        """Replace the beginning of the file. A reader may see bytes of two calls at once."""
        self._map[: len(content)] = content

    def close(self) -> None:
        self._map.close()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def read_mapped(path: Path) -> mmap.mmap | None:
    """The reader's end; None for a file that is gone or empty."""
    with contextlib.suppress(OSError, ValueError), path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return None
