"""Free KV blocks for waiting turns: how many the next step has, and how many a turn needs."""

from typing import NamedTuple

from .. import vllm_compat
from ..engine import Engine
from ..residency.pins import Pins
from ..vllm_compat import Request


class Demand(NamedTuple):
    """What the admission of a waiting turn takes."""

    blocks: int  # free KV blocks
    tokens: int  # to be computed


class FreeRoom:
    """Counts pinned blocks as free: pins are released before they block an admission."""

    def __init__(self, engine: Engine, pins: Pins) -> None:
        self._kv_cache = engine.kv_cache
        self._running_demand = engine.running_demand
        self._pins = pins
        self.is_countable = vllm_compat.reserves_whole_prompts(engine.scheduler) and engine.kv_cache.chained
        """False where vLLM admits a turn before its whole prompt fits, or where shared blocks cannot be counted."""

    def blocks(self) -> int:
        """Blocks for waiting turns in the next step, after those that running requests take."""
        kv_cache = self._kv_cache
        taken = self._running_demand.blocks() + kv_cache.watermark_blocks
        return kv_cache.free_blocks + self._pins.releasable_blocks - taken

    def is_plentiful(self, tokens: int) -> bool:
        """Whether a turn of this many tokens fits easily, so that counting is not worth its time."""
        return tokens <= self._kv_cache.free_tokens / 2

    def demand(self, request: Request, cached_tokens: int, free_blocks: int) -> Demand:
        """Demand of a request with `cached_tokens` in the prefix cache. Blocks that other requests reference need no
        free ones; they are counted only where `free_blocks` leave the answer open."""
        tokens, block_tokens = request.num_tokens, self._kv_cache.block_tokens
        uncached = max(tokens - cached_tokens, 1)
        blocks = -(-tokens // block_tokens)
        if blocks > free_blocks >= -(-uncached // block_tokens):
            blocks -= self._kv_cache.held_blocks(request, cached_tokens, self._pins.pin_count)
        return Demand(blocks, uncached)
