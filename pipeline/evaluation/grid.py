"""A table of text, for Markdown and for the page alike."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Grid:
    """The first `texts` columns hold words, the others figures. `ours`: the rows that are AugServe's own."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: int = 1
    ours: frozenset[int] = frozenset()

    def markdown(self) -> list[str]:
        marks = ["---"] * self.texts + ["---:"] * (len(self.header) - self.texts)
        lines = [self.header, *self.rows]
        joined = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
        return [joined[0], "|" + "|".join(marks) + "|", *joined[1:]]
