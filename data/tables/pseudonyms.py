"""Names that stand for ids in a server's traces: hashes with a key that never leaves the folder of the traces."""

import hashlib
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from .files import TraceError

KEY_FILE = ".augserve-key"
KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """The same id has the same name under one key. Without the key, nobody can find an id by trying likely ones."""

    key: bytes = field(repr=False)

    def of(self, name: str) -> str:
        """32 hexadecimal digits."""
        text = name.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, key=self.key, digest_size=16).hexdigest()

    @classmethod
    def kept_in(cls, folder: Path) -> Self:
        """Those of a folder of traces. Its first caller makes the key, readable by the owner alone.

        Raises OSError where the key cannot be read or made, and TraceError where it is damaged.
        """
        path = folder / KEY_FILE
        if not path.exists():
            _make(path)
        key = path.read_bytes()
        if len(key) != KEY_BYTES:
            raise TraceError(f"{path}: {len(key)} bytes are no key; remove it, and sessions get new names")
        return cls(key)


def _make(path: Path) -> None:
    """Write a key, whole at once, unless another process has done so meanwhile."""
    handle, name = tempfile.mkstemp(prefix=f"{KEY_FILE}.", dir=path.parent)  # 0600
    try:
        os.write(handle, os.urandom(KEY_BYTES))
        os.fsync(handle)
        os.link(name, path)
    except FileExistsError:
        pass
    finally:
        os.close(handle)
        Path(name).unlink()
