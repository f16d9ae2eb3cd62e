"""What an importer is: files of one format in, rows of the three tables out."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from ..tables.files import TableName
from .reading.members import Member
from .reading.problems import Problems

Record = tuple[TableName, Mapping[str, object]]
"""A table's name and one of its rows, without the column `source`, which the writer adds.

Rows come in any order, except that a turn comes before its tool calls. Times are seconds: Unix time where the format
has real timestamps, otherwise from 0. What is not known is left out or None, never zero.
"""


class TokenCounter(Protocol):
    @property
    def exact(self) -> bool:
        """False where `count` only estimates."""
        ...

    def count(self, text: str) -> int: ...

    def ids(self, text: str) -> list[int]:
        """Token ids of the text; empty where they are not known."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """What an importer is given beside the files."""

    problems: Problems
    tokens: TokenCounter


class Importer(Protocol):
    """Each importer's module has one, named `import_records`.

    It streams: memory holds what the open sessions need, never the whole input. A malformed record goes to
    `context.problems.skip`, what is left out by rule to `.note`; neither is dropped silently.
    """

    def __call__(self, members: Iterable[Member], context: Context) -> Iterator[Record]: ...
