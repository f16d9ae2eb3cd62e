"""A table of text, for Markdown and for the page alike."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Grid:
    """The first `texts` columns hold words, the others figures. `ours`: AugServe's own rows."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: int = 1
    ours: frozenset[int] = frozenset()

    def is_figure(self, column: int) -> bool:
        return column >= self.texts

    def markdown(self) -> list[str]:
        marks = ["---:" if self.is_figure(column) else "---" for column in range(len(self.header))]
        lines = [self.header, *self.rows]
        joined = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
        return [joined[0], "|" + "|".join(marks) + "|", *joined[1:]]
