"""The contract of an exporter: trees of recorded sessions in, files of one format out."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from .trees import Tree

Notes = Counter[str]
"""What the format cannot tell, by cause: a fixed phrase."""


class Exporter(Protocol):
    """Each exporter's module has one, named `export_trees`. It writes into the empty folder `folder`."""

    def __call__(self, trees: Sequence[Tree], folder: Path, notes: Notes) -> None: ...
