"""The files of an import as streams: plain or compressed, in folders or in tar archives."""

import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

from ...one_line import one_line
from .places import Place, StoredFile, stored_files
from .problems import ImportingError, Problems

_COMPRESSIONS: dict[str, tuple[str, Callable[[Any], Any]]] = {  # suffix: (what replaces it, how to decompress)
    ".tgz": (".tar", lambda stream: gzip.GzipFile(fileobj=stream)),
    ".txz": (".tar", lzma.LZMAFile),
    ".gz": ("", lambda stream: gzip.GzipFile(fileobj=stream)),
    ".xz": ("", lzma.LZMAFile),
}
_DAMAGE = (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile, tarfile.TarError)
_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """One file. `name` is the path or URL as given, then the path inside the folder or archive.

    `stream` is open until the next member is asked for; it can seek only in a plain file.
    """

    name: str
    stream: BinaryIO


def open_members(
    places: Sequence[Place],
    suffixes: Sequence[str],
    problems: Problems | None = None,
    on_bytes: Callable[[int], object] = lambda _: None,
) -> Iterator[Member]:
    """Every file of `places`: folders in sorted order, archives in stored order.

    A place is the path or URL of a file of any name, a folder, or a .tar, .xz or .gz of either. Inside folders and
    archives only names with one of `suffixes` count, compressed or not; others, and hidden files, are noted in
    `problems`.
    `on_bytes` gets the number of stored bytes read since its last call.
    Raises ImportingError for a missing, unreadable, truncated or damaged file, for a path given twice, and for a path
    without a file to import.
    """
    problems = problems or Problems()
    seen: set[str] = set()
    for at in places:
        empty = True
        for file in stored_files(at):
            if file.identity in seen:
                raise ImportingError(f"{file.name}: given twice; name each path once")
            seen.add(file.identity)
            if not _is_chosen(file, suffixes):
                problems.note(f"files that are none of {', '.join(suffixes)}")
                continue
            for member in _open(file, suffixes, problems, on_bytes):
                empty = False
                yield member
        if empty:
            raise ImportingError(f"{at}: holds no {' or '.join(suffixes)} file to import; correct the path")


def size_bytes(places: Sequence[Place], suffixes: Sequence[str]) -> int:
    """Stored bytes that `open_members` will read. Raises ImportingError for a missing place."""
    return sum(file.size_bytes for at in places for file in stored_files(at) if _is_chosen(file, suffixes))


def _is_chosen(file: StoredFile, suffixes: Sequence[str]) -> bool:
    return file.given or _is_wanted(PurePosixPath(file.name).name, (*suffixes, ".tar"))


def _is_wanted(name: str, suffixes: Sequence[str]) -> bool:
    return not name.startswith(".") and _split(name)[0].endswith(tuple(suffixes))


def _split(name: str) -> tuple[str, Callable[[Any], Any] | None]:
    """A file's name without its compression, and the function that decompresses the file (None: not compressed)."""
    for suffix, (replacement, decompress) in _COMPRESSIONS.items():
        if name.endswith(suffix):
            return name.removesuffix(suffix) + replacement, decompress
    return name, None


def _open(
    file: StoredFile, suffixes: Sequence[str], problems: Problems, on_bytes: Callable[[int], object]
) -> Iterator[Member]:
    name, decompress = _split(file.name)
    with ExitStack() as stack:
        try:
            stream: Any = _Reader(file.name, stack.enter_context(file.open()), on_bytes)
        except OSError as error:
            cause = error.strerror or error
            raise ImportingError(f"{file.name}: cannot be read: {cause}; correct its permissions") from error
        if decompress:
            stream = _Reader(file.name, decompress(stream))
        if name.endswith(".tar"):
            yield from _archived(file.name, stream, suffixes, problems)
        else:
            yield Member(file.name, _buffered(stream))


def _archived(archive_name: str, stream: Any, suffixes: Sequence[str], problems: Problems) -> Iterator[Member]:
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for entry in filter(tarfile.TarInfo.isfile, archive):
                base, name = PurePosixPath(entry.name).name, f"{archive_name}/{entry.name}"
                if not _is_wanted(base, suffixes):
                    problems.note(f"files that are none of {', '.join(suffixes)}")
                    continue
                content = _Reader(name, archive.extractfile(entry))
                decompress = _split(base)[1]
                yield Member(name, _buffered(_Reader(name, decompress(content)) if decompress else content))
    except tarfile.TarError as error:
        raise _damaged(archive_name, error) from error
    while stream.read(_BUFFER_BYTES):  # to the end, so that the compression's own checksum is verified
        pass


def _buffered(stream: Any) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(stream, _BUFFER_BYTES))


def _damaged(name: str, error: Exception) -> ImportingError:
    cause = one_line(error).lower()
    return ImportingError(f"{name}: truncated or damaged: {cause}; get the file again")


class _Reader(io.RawIOBase):
    """Reads a stream, reports the bytes read, and raises one kind of error for damaged files."""

    def __init__(self, name: str, stream: Any, on_bytes: Callable[[int], object] | None = None) -> None:
        super().__init__()
        self._name = name
        self._stream = stream
        self._on_bytes = on_bytes

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        """Only a file on the disk: others would be decompressed from the start again."""
        return self._on_bytes is not None and bool(self._stream.seekable())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._stream.seek(offset, whence))

    def tell(self) -> int:
        return int(self._stream.tell())

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read(len(buffer))
        except _DAMAGE as error:
            raise _damaged(self._name, error) from error
        except OSError as error:
            raise ImportingError(f"{self._name}: cannot be read: {error.strerror or error}; get it again") from error
        buffer[: len(data)] = data
        if self._on_bytes is not None:
            self._on_bytes(len(data))
        return len(data)
