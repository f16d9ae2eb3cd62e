"""A table of text, for Markdown and for the page alike."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Grid:
    """The first `texts` columns and the last `notes` hold words, the others figures. `ours`: AugServe's own rows."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: int = 1
    ours: frozenset[int] = frozenset()
    notes: int = 0

    def is_figure(self, column: int) -> bool:
        return self.texts <= column < len(self.header) - self.notes

    def markdown(self) -> list[str]:
        marks = ["---:" if self.is_figure(column) else "---" for column in range(len(self.header))]
        lines = [self.header, *self.rows]
        joined = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
        return [joined[0], "|" + "|".join(marks) + "|", *joined[1:]]
