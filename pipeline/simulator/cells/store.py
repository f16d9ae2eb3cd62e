"""Where the results of cells are kept: a folder, or any URL of fsspec, which several machines may share."""

import logging
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from ....data.atomic import write_text
from ....data.one_line import one_line
from ...project.stage import StageError

logger = logging.getLogger(__name__)


class CellStore:
    """Texts by name. A write replaces a text whole: an object store does so by itself."""

    def __init__(self, url: str) -> None:
        """Raises StageError for a store that cannot be read."""
        self._url = url
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
            self._files.exists(f"{self._root}/any")  # asks for a name, so that missing rights show now
        except Exception as error:  # each file system has exceptions of its own
            raise StageError(f"--cells {url}: {_cause(error)}; correct the URL or your rights to it") from error

    def read(self, name: str) -> str:
        """Raises OSError for a text that is not there or cannot be read."""
        return str(self._files.cat_file(f"{self._root}/{name}").decode("utf-8"))

    def write(self, name: str, text: str) -> None:
        """A failure is logged: the result is not lost, it is only not kept."""
        try:
            if isinstance(self._files, LocalFileSystem):
                write_text(Path(self._root) / name, text)
            else:
                self._files.pipe_file(f"{self._root}/{name}", text.encode())
        except Exception as error:  # noqa: BLE001  each file system has exceptions of its own
            logger.warning("%s: a result is not kept: %s", self._url, _cause(error))


def _cause(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error, 200)}"
