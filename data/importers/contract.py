"""The contract of an importer: files of one format in, rows of the three tables out."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from ..tables.files import TableName
from .reading.members import Member
from .reading.problems import Problems

Record = tuple[TableName, Mapping[str, object]]
"""A table's name and one of its rows, without the column `source`, which the writer adds.

Rows come in any order, except that a turn comes before its tool calls; a sub-agent may come before its parent. Times
are seconds: Unix time where the format has timestamps, otherwise from 0. An unknown value is left out or None, never
zero.
"""


class TokenCounter(Protocol):
    counted_texts: int  # so far

    @property
    def exact(self) -> bool:
        """False where `count` only estimates."""
        ...

    def count(self, text: str) -> int: ...

    def ids(self, text: str) -> list[int]:
        """Token ids of the text; empty where they are unknown."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    problems: Problems
    tokens: TokenCounter
    source: str = ""  # the name of the set that the import makes


class Importer(Protocol):
    """Each importer's module has one, named `import_records`.

    It streams: memory holds the open sessions, never the whole input. A malformed record goes to
    `context.problems.skip`, a record left out by rule to `.note`; neither is dropped silently.
    """

    def __call__(self, members: Iterable[Member], context: Context) -> Iterator[Record]: ...


class SessionNames:
    """Unique names for sessions, where a later file repeats one. Memory holds each name once."""

    def __init__(self) -> None:
        self._given: Counter[str] = Counter()

    def unique(self, name: str) -> str:
        """`name` itself, then `name:2`, `name:3`, …."""
        self._given[name] += 1
        return name if self._given[name] == 1 else self.unique(f"{name}:{self._given[name]}")
