"""Numbers for the blocks of prompts whose trace has no block hashes."""

from collections.abc import Iterator, Sequence
from itertools import count

from ..tables.sessions import RecordedTurn


class BlockIds:
    """Numbers that are equal where the trace says that blocks are equal, within one tree.

    Prompts with the same prefix begin alike. Each turn extends the prompt and output before it; where the context was
    compacted it keeps what was cached, or else the prefix.
    """

    def __init__(self, block_tokens: int) -> None:
        self._block_tokens = block_tokens
        self._numbers = count(1)
        self._prefixes: dict[str, list[int]] = {}

    def of_session(self, turns: Sequence[RecordedTurn]) -> Iterator[list[int]]:
        """For each turn the numbers of its prompt's full blocks."""
        blocks: list[int] = []
        before: RecordedTurn | None = None
        for turn in turns:
            kept = self._prefix(turn) if before is None else blocks[: self._kept_blocks(before, turn)]
            missing = turn.prompt_tokens // self._block_tokens - len(kept)
            blocks = kept + [next(self._numbers) for _ in range(missing)]
            before = turn
            yield blocks

    def _prefix(self, turn: RecordedTurn) -> list[int]:
        if turn.prefix_id is None or turn.prefix_tokens is None:
            return []
        blocks = min(turn.prefix_tokens, turn.prompt_tokens) // self._block_tokens
        known = self._prefixes.setdefault(turn.prefix_id, [])
        known += [next(self._numbers) for _ in range(blocks - len(known))]
        return known[:blocks]

    def _kept_blocks(self, before: RecordedTurn, turn: RecordedTurn) -> int:
        if turn.prompt_tokens >= before.prompt_tokens:
            kept = before.prompt_tokens
        else:
            kept = (turn.prefix_tokens or 0) if turn.cached_tokens is None else turn.cached_tokens
        return min(kept, turn.prompt_tokens) // self._block_tokens
