"""The files of an import where they are stored: on the disk, or at a URL of fsspec, such as s3://bucket/folder."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

import fsspec

from ...one_line import one_line
from .problems import ImportingError

Place = Path | str
"""A path, or a URL: a text with `://`."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    name: str  # as given, then inside the folder
    identity: str  # two names of one file have the same
    given: bool  # the place itself, not a file inside it
    size_bytes: int
    open: Callable[[], BinaryIO]  # raises OSError


def place(text: str) -> Place:
    return text if "://" in text else Path(text)


def stored_files(at: Place) -> list[StoredFile]:
    """The file, or all files of the folder, sorted. Raises ImportingError where there are none, or no rights."""
    return _on_disk(at) if isinstance(at, Path) else _at_url(at)


def _on_disk(path: Path) -> list[StoredFile]:
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
    elif path.exists():
        files = [path]
    else:
        raise ImportingError(f"{path}: no such file or folder; correct the path")
    return [
        StoredFile(str(file), str(file.resolve()), file == path, file.stat().st_size, partial(_open_file, file))
        for file in files
    ]


def _open_file(path: Path) -> BinaryIO:
    return path.open("rb")


def _at_url(url: str) -> list[StoredFile]:
    try:
        files, root = fsspec.core.url_to_fs(url)
        found = files.find(root, detail=True)
    except Exception as error:  # each file system has exceptions of its own
        cause = f"{type(error).__name__}: {one_line(error, 200)}"
        raise ImportingError(f"{url}: cannot be listed: {cause}; correct the URL or your rights to it") from error
    if not found:
        raise ImportingError(f"{url}: no such file or folder; correct the URL")
    return [
        StoredFile(
            files.unstrip_protocol(path),
            files.unstrip_protocol(path),
            path == root,
            int(entry["size"] or 0),
            partial(_opened, files, path),
        )
        for path, entry in sorted(found.items())
    ]


def _opened(files: "fsspec.AbstractFileSystem", path: str) -> BinaryIO:
    return cast(BinaryIO, files.open(path, "rb"))
