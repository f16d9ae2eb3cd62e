"""What an import could not use: counted by cause, the first few named by file and line."""

from collections import Counter

NAMED = 5  # problems that are named one by one
_KINDS = 200  # distinct causes that are told apart, so that odd input cannot fill the memory
_OTHER = "other causes"


class ImportingError(ValueError):
    """An import cannot go on; the message names the file, the cause and the remedy."""


class Problems:
    """Counts of what was skipped (malformed) and of what was left out by rule.

    A cause is a fixed phrase, without the record's own values: causes are counted. `position` is where the reader
    stands now ("file:line"); whoever reads sets it, so that a row that turns out wrong later can be named.
    """

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict
        self.position = ""
        self.skipped: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.named: list[str] = []

    def skip(self, where: str, cause: str) -> None:
        """A malformed record at `where` is not imported. Raises ImportingError when strict."""
        if self.strict:
            raise ImportingError(f"{where}: {cause}; correct the file, or import without --strict to skip it")
        self.skipped[self._kind(self.skipped, cause)] += 1
        if len(self.named) < NAMED:
            self.named.append(f"{where}: {cause}")

    def note(self, cause: str, count: int = 1) -> None:
        """Something sound is left out, or altered, by rule; never an error."""
        self.left_out[self._kind(self.left_out, cause)] += count

    @staticmethod
    def _kind(counts: Counter[str], cause: str) -> str:
        return cause if cause in counts or len(counts) < _KINDS else _OTHER
