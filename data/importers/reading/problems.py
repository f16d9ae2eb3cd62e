"""Records that an import could not use: counted by cause, the first few named by file and line."""

from collections import Counter

NAMED = 5  # problems that are named one by one
_CAUSES = 200  # causes that are counted apart, so that odd input cannot fill the memory
_OTHER = "other causes"


class ImportingError(ValueError):
    """An import cannot go on; the message names the file, the cause and the remedy."""


class Problems:
    """Counts malformed records (`skipped`) and records left out by rule (`left_out`).

    A cause is a fixed phrase, so that causes can be counted. Readers set `position` ("file:line"), so that a row which
    fails a later check can be named.
    """

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict
        self.position = ""
        self.skipped: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.named: list[str] = []

    def skip(self, where: str, cause: str) -> None:
        """Count a malformed record. Raises ImportingError when strict."""
        if self.strict:
            raise ImportingError(f"{where}: {cause}; correct the file, or import without --strict to skip it")
        _count(self.skipped, cause, 1)
        if len(self.named) < NAMED:
            self.named.append(f"{where}: {cause}")

    def note(self, cause: str, count: int = 1) -> None:
        """Count sound records that a rule leaves out or alters; never an error."""
        _count(self.left_out, cause, count)


def _count(counts: Counter[str], cause: str, count: int) -> None:
    counts[cause if cause in counts or len(counts) < _CAUSES else _OTHER] += count
