"""The KV blocks that pins reference: each counts once, and some are in use by requests as well."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable

from ..vllm_compat import BlockReferences, KVCacheBlock


class PinnedBlocks:
    """Counts the pins of each block."""

    def __init__(self, references: BlockReferences) -> None:
        self._references = references
        self._counts: Counter[int] = Counter()  # by identity of the block: how many pins reference it

    def __len__(self) -> int:
        """Pinned blocks; a block that several sessions share counts once."""
        return len(self._counts)

    def add(self, blocks: Iterable[KVCacheBlock]) -> None:
        self._counts.update(map(id, blocks))

    def remove(self, blocks: Iterable[KVCacheBlock]) -> None:
        for block in map(id, blocks):
            self._counts[block] -= 1
            if not self._counts[block]:
                del self._counts[block]

    def pins_of(self, block: KVCacheBlock) -> int:
        """How many pins reference the block."""
        return self._counts[id(block)]

    def is_unused(self, block: KVCacheBlock) -> bool:
        """Whether nothing but pins references the block."""
        return self._references.count(block) == self.pins_of(block)

    def in_use(self, chains: Iterable[list[KVCacheBlock]], others: Iterable[list[KVCacheBlock]]) -> int:
        """Blocks of these pins that requests reference too.

        `chains`: blocks of pins that are alone with their content, so that a request which references a block
        references those before it. The last used block of such a pin is found by a binary search.
        `others`: blocks of pins some of which have twins. A request may reference a twin and the pin's next block.
        """
        used: set[int] = set()
        for blocks in chains:
            for block in map(id, reversed(blocks[: self._used_length(blocks)])):
                if block in used:
                    break
                used.add(block)
        for blocks in others:
            used.update(id(block) for block in blocks if not self.is_unused(block))
        return len(used)

    def _used_length(self, chain: list[KVCacheBlock]) -> int:
        if self.is_unused(chain[0]):  # the usual and the cheapest case
            return 0
        return bisect_left(chain, True, key=self.is_unused)
