"""The KV cache of vLLM: read without side effects, and pinned by references beyond those of requests."""

from collections.abc import Callable, Sequence

from .host_memory import HostMemory
from .names import (
    AsyncScheduler,
    BlockHash,
    BlockPool,
    FullAttentionSpec,
    KVCacheBlock,
    KVCacheManager,
    Request,
    UnitaryKVCacheCoordinator,
    make_block_hash_with_group_id,
)
from .walk_time import WalkTime


class BlockReferences:
    """References on cached blocks beyond those of requests. vLLM does not evict a referenced block."""

    def __init__(self, scheduler: AsyncScheduler) -> None:
        self._manager: KVCacheManager = scheduler.kv_cache_manager
        self._pool: BlockPool = self._manager.block_pool
        managers = self._manager.coordinator.single_type_managers
        self.block_tokens = min((int(manager.block_size) for manager in managers), default=1)
        self.groups = max(len(managers), 1)  # groups of layers, each with its own blocks
        self.capacity_blocks = max(int(self._pool.num_gpu_blocks) - 1, 1)

    @property
    def free_blocks(self) -> int:
        return int(self._pool.get_num_free_blocks())

    def hold(self, request: Request) -> list[KVCacheBlock]:
        """Reference the request's blocks that are in the prefix cache. Call it while the request owns its blocks."""
        groups = self._manager.get_blocks(request.request_id).blocks
        blocks = [block for group in groups for block in group if block.block_hash is not None and not block.is_null]
        self._pool.touch(blocks)
        return blocks

    def have_twins(self, blocks: list[KVCacheBlock]) -> bool:
        """Whether the prefix cache has other blocks with the content of some of these."""
        content = self._pool.cached_block_hash_to_block._cache
        twins = (content.get(block.block_hash) for block in blocks if block.block_hash is not None)
        return any(isinstance(found, dict) and len(found) > 1 for found in twins)

    def release(self, blocks: list[KVCacheBlock]) -> None:
        """Release in vLLM's order: the last block is the first to be evicted."""
        self._pool.free_blocks(reversed(blocks))

    def count(self, block: KVCacheBlock) -> int:
        return int(block.ref_cnt)


class KvCache:
    """Read-only view: it changes neither reference counts nor the eviction order nor vLLM's statistics."""

    def __init__(self, scheduler: AsyncScheduler) -> None:
        self._manager: KVCacheManager = scheduler.kv_cache_manager
        self._pool: BlockPool = self._manager.block_pool
        coordinator = self._manager.coordinator
        managers = coordinator.single_type_managers
        self.block_tokens = int(managers[0].block_size) if managers else 1
        self._chained = (
            isinstance(coordinator, UnitaryKVCacheCoordinator)
            and isinstance(coordinator.kv_cache_spec, FullAttentionSpec)
            and not coordinator.eagle_group_ids
        )
        self._walk_time = WalkTime()
        self.capacity_tokens = max(self._pool.num_gpu_blocks - 1, 1) * self.block_tokens
        self.watermark_blocks = int(self._manager.watermark_blocks)
        self._host = HostMemory.of(scheduler) if self._chained else None

    @property
    def keeps_contexts(self) -> bool:
        """Whether prefix caching is on."""
        return bool(self._manager.enable_caching)

    @property
    def usage(self) -> float:
        """Share of the blocks in use, 0 to 1."""
        return float(self._pool.get_usage())

    @property
    def free_blocks(self) -> int:
        """Free blocks, evictable cached ones included."""
        return int(self._pool.get_num_free_blocks())

    @property
    def free_tokens(self) -> int:
        return self.free_blocks * self.block_tokens

    @property
    def chained(self) -> bool:
        """Whether a cached block implies nearly always that the blocks before it are cached: one full-attention group.

        Then `cached_tokens` is a binary search, else vLLM's walk over the prompt; only then does `held_blocks` count.
        """
        return self._chained

    def held_blocks(self, request: Request, cached_tokens: int, pins: Callable[[KVCacheBlock], int]) -> int:
        """Number of the request's first `cached_tokens` blocks that other requests reference.

        The request needs no free blocks for these. `pins` is the number of AugServe's own references on a block, which
        do not count. Binary search: who references a block references those before it.
        """
        low, high = 0, min(cached_tokens // self.block_tokens, len(request.block_hashes))
        block_of = self._pool.cached_block_hash_to_block.get_one_block
        while low < high:
            middle = (low + high) // 2
            block = block_of(make_block_hash_with_group_id(request.block_hashes[middle], 0))
            if block is not None and block.ref_cnt > pins(block):
                low = middle + 1
            else:
                high = middle
        return low

    @property
    def has_host_memory(self) -> bool:
        """Whether contexts that were evicted are loaded instead of computed."""
        return self._host is not None

    def cached_tokens(self, request: Request, last_known: int = 0) -> int:
        """Prompt tokens of the request that need no computing: in the prefix cache, or in host memory, from which vLLM
        loads them. Fastest if the answer is still `last_known`.

        Without `chained` the answer is that of vLLM's own walk over the prompt, or `last_known` while walks take too
        long. With it, a binary search over block hashes. It finds a lower bound if an inner block was evicted before a
        later one; that is rare, as vLLM evicts the last blocks of a request first.
        """
        if not self._manager.prefix_cache_lookup_enabled(request):
            return 0
        hashes = request.block_hashes
        if not self._chained:
            most = request.num_tokens - 1
            walk = self._manager.coordinator.find_longest_cache_hit
            return self._walk_time.spend(lambda: int(walk(hashes, most)[1]), otherwise=min(last_known, most))
        low, high = 0, min(len(hashes), (request.num_tokens - 1) // self.block_tokens)
        middle = min(last_known // self.block_tokens, high)
        if middle and not self._holds(hashes, middle - 1):
            high = middle - 1
        else:
            low = middle
            if low < high and not self._holds(hashes, low):
                high = low
        while low < high:
            middle = (low + high) // 2
            if self._holds(hashes, middle):
                low = middle + 1
            else:
                high = middle
        return low * self.block_tokens

    def _holds(self, hashes: Sequence[BlockHash], block: int) -> bool:
        """Whether the block with this index is in the prefix cache or in host memory."""
        key = make_block_hash_with_group_id(hashes[block], 0)
        if self._pool.cached_block_hash_to_block.get_one_block(key) is not None:
            return True
        return self._host is not None and self._host.holds(hashes, block)
