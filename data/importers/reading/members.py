"""The files of an import, one after the other: plain, compressed, in folders or in tar archives, always as streams."""

import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from .problems import ImportingError, Problems

_COMPRESSIONS: dict[str, Callable[[BinaryIO], Any]] = {
    ".xz": lzma.LZMAFile,
    ".gz": lambda stream: gzip.GzipFile(fileobj=stream),
}
_SHORT = {".tgz": ".tar.gz", ".txz": ".tar.xz"}
_DAMAGE = (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile, tarfile.TarError)
_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """One file. `name`: the path as given, then the path inside the folder or archive; `stream` is open until the
    next member is asked for, and can seek only where it is a plain file."""

    name: str
    stream: BinaryIO


def open_members(
    paths: Sequence[Path],
    suffixes: Sequence[str],
    problems: Problems | None = None,
    on_bytes: Callable[[int], object] | None = None,
) -> Iterator[Member]:
    """Every file of `paths`, folders and archives in sorted and stored order.

    A path is a file (taken whatever its name), a folder, or a .tar, .xz or .gz of either. Inside folders and archives
    only names with one of `suffixes` count, compressed or not; others, and hidden files, are noted in `problems`.
    `on_bytes` is told how many bytes have been read from the disk since it was last called.
    Raises ImportingError for a missing, unreadable, truncated or damaged file, a path given twice, and where there is
    nothing to import.
    """
    problems = problems or Problems()
    seen: set[Path] = set()
    for path in paths:
        found = 0
        for file in _files(path):
            if file.resolve() in seen:
                raise ImportingError(f"{file}: given twice; name each path once")
            seen.add(file.resolve())
            if not _chosen(file, path, suffixes):
                problems.note(f"files that are none of {', '.join(suffixes)}")
                continue
            for member in _open(file, suffixes, problems, on_bytes or (lambda _: None)):
                found += 1
                yield member
        if not found:
            raise ImportingError(f"{path}: holds no {' or '.join(suffixes)} file to import; correct the path")


def size_bytes(paths: Sequence[Path], suffixes: Sequence[str]) -> int:
    """Bytes on the disk that `open_members` will read. Raises ImportingError for a missing path."""
    return sum(file.stat().st_size for path in paths for file in _files(path) if _chosen(file, path, suffixes))


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    if not path.exists():
        raise ImportingError(f"{path}: no such file or folder; correct the path")
    return [path]


def _chosen(file: Path, path: Path, suffixes: Sequence[str]) -> bool:
    return file == path or _wanted(file.name, (*suffixes, ".tar"))


def _wanted(name: str, suffixes: Sequence[str]) -> bool:
    return not name.startswith(".") and _split(name)[0].endswith(tuple(suffixes))


def _split(name: str) -> tuple[str, str]:
    """A file's name without the compression's suffix, and that suffix ("" for none)."""
    suffix = PurePosixPath(name).suffix
    if suffix in _SHORT:
        name, suffix = name.removesuffix(suffix) + _SHORT[suffix], _SHORT[suffix][4:]
    return (name.removesuffix(suffix), suffix) if suffix in _COMPRESSIONS else (name, "")


def _open(
    file: Path, suffixes: Sequence[str], problems: Problems, on_bytes: Callable[[int], object]
) -> Iterator[Member]:
    name, compression = _split(file.name)
    with ExitStack() as stack:
        try:
            stream: Any = stack.enter_context(file.open("rb"))
        except OSError as error:
            raise ImportingError(f"{file}: cannot be read: {error.strerror}; correct its permissions") from error
        stream = _Watched(str(file), stream, on_bytes)
        if compression:
            stream = _Watched(str(file), _COMPRESSIONS[compression](stream))
        if name.endswith(".tar"):
            yield from _archived(str(file), stream, suffixes, problems)
        else:
            yield Member(str(file), _buffered(stream))


def _archived(name: str, stream: Any, suffixes: Sequence[str], problems: Problems) -> Iterator[Member]:
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for entry in archive:
                if not entry.isfile():
                    continue
                inner, compression = _split(PurePosixPath(entry.name).name)
                if not _wanted(inner, suffixes):
                    problems.note(f"files that are none of {', '.join(suffixes)}")
                    continue
                content: Any = _Watched(f"{name}/{entry.name}", archive.extractfile(entry))
                if compression:
                    content = _Watched(f"{name}/{entry.name}", _COMPRESSIONS[compression](content))
                yield Member(f"{name}/{entry.name}", _buffered(content))
    except tarfile.TarError as error:
        raise _damaged(name, error) from error
    while stream.read(_BUFFER_BYTES):  # to the end, so that the compression's own checksum is verified
        pass


def _buffered(stream: Any) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(stream, _BUFFER_BYTES))


def _damaged(name: str, error: Exception) -> ImportingError:
    cause = " ".join(str(error).split()).lower() or type(error).__name__
    return ImportingError(f"{name}: truncated or damaged: {cause}; get the file again")


class _Watched(io.RawIOBase):
    """A stream that reports the bytes read and turns the many errors of damaged files into one."""

    def __init__(self, name: str, stream: Any, on_bytes: Callable[[int], object] | None = None) -> None:
        super().__init__()
        self._name = name
        self._stream = stream
        self._on_bytes = on_bytes

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        # Only the file itself: compressed and archived ones would decompress from the start again.
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
