"""The working set: the KV blocks of all resident sessions, counted by vLLM's own block pool.

Running turns and pinned contexts reference their blocks. So the pool's count is exact: a block that several sessions
share counts once, and each group of layers counts its own. Admitted turns that are not computed yet are added here, and
so are light turns that wait for blocks: they go before newcomers.
"""

import numpy as np

from ..queueing.value import Floats
from ..vllm_compat import BlockReferences, KvCache, KVCacheBlock, Request


class WorkingSet:
    """Blocks in use and blocks promised, against the `share` of the cache that they may fill."""

    def __init__(self, references: BlockReferences, kv_cache: KvCache, share: float) -> None:
        self.share_blocks = int(share * references.capacity_blocks)
        self._references = references
        self._kv_cache = kv_cache
        self.waiting_blocks = 0
        self.entering: dict[Request, int] = {}  # admitted turns whose prompts are not computed yet, with their blocks

    @property
    def blocks(self) -> int:
        """Blocks in use, and those promised to admitted and to light turns."""
        references = self._references
        used_blocks = references.capacity_blocks - references.free_blocks
        return used_blocks + self.waiting_blocks + self._promised_blocks()

    @property
    def capacity_blocks(self) -> int:
        """Of the cache. More may be promised."""
        return self._references.capacity_blocks

    @property
    def block_tokens(self) -> int:
        return self._references.block_tokens

    def most_blocks(self, asked_blocks: int) -> int:
        """Blocks that the set may fill while waiting turns ask for `asked_blocks`: the whole cache if it holds all of
        them, otherwise the share, whose rest is for growth."""
        return self.capacity_blocks if self.blocks + asked_blocks <= self.capacity_blocks else self.share_blocks

    def demand_blocks(self, request: Request, cached_tokens: int, most_blocks: int) -> int:
        """Blocks that a turn with `cached_tokens` in the prefix cache adds to the set; `most_blocks` at most, so that a
        context larger than that waits for an empty set."""
        kv_cache = self._kv_cache
        blocks = -(-request.num_tokens // kv_cache.block_tokens) * self._references.groups
        if kv_cache.chained:
            blocks -= kv_cache.held_blocks(request, cached_tokens, _none)
        return min(blocks, most_blocks)

    def note_waiting(self, tokens: Floats) -> None:
        """Note the contexts of the light turns that wait now, shape (n,)."""
        self.waiting_blocks = self.blocks_of(tokens)

    def blocks_of(self, tokens: Floats) -> int:
        """Blocks that hold so many tokens of each of several turns, shape (n,)."""
        return int(np.ceil(tokens / self._kv_cache.block_tokens).sum()) * self._references.groups

    def enter(self, request: Request, blocks: int) -> None:
        """Promise a turn its `blocks`."""
        self.entering[request] = blocks

    def take_over(self, before: "WorkingSet") -> None:
        """Keep what another set has promised."""
        self.entering = before.entering
        self.waiting_blocks = before.waiting_blocks

    def _promised_blocks(self) -> int:
        promised = 0
        for request, blocks in list(self.entering.items()):
            if request.is_finished() or request.num_computed_tokens >= request.num_tokens:
                del self.entering[request]
            else:
                computed = request.num_computed_tokens // self._kv_cache.block_tokens * self._references.groups
                promised += max(blocks - computed, 0)
        return promised


def _none(_: KVCacheBlock) -> int:
    """Pins count as references: their sessions are resident."""
    return 0
