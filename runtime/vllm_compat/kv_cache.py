"""The KV cache of vLLM: read without a trace, and referenced beyond its requests."""

from collections.abc import Callable

from .names import (
    BlockPool,
    FullAttentionSpec,
    KVCacheBlock,
    KVCacheManager,
    Request,
    UnitaryKVCacheCoordinator,
    make_block_hash_with_group_id,
)


class BlockReferences:
    """References on cached blocks beyond those of requests: what they hold cannot be evicted."""

    def __init__(self, manager: KVCacheManager) -> None:
        self._manager = manager
        self._pool: BlockPool = manager.block_pool
        managers = manager.coordinator.single_type_managers
        self.block_tokens = min((int(each.block_size) for each in managers), default=1)
        self.groups = max(len(managers), 1)  # of layers, each with blocks of its own
        self.capacity_blocks = max(int(self._pool.num_gpu_blocks) - 1, 1)

    @property
    def free_blocks(self) -> int:
        return int(self._pool.get_num_free_blocks())

    def hold(self, request: Request) -> list[KVCacheBlock]:
        """Reference each block of the request that the prefix cache knows; to be called while they are its own."""
        groups = self._manager.get_blocks(request.request_id).blocks
        blocks = [block for group in groups for block in group if block.block_hash is not None and not block.is_null]
        self._pool.touch(blocks)
        return blocks

    def release(self, blocks: list[KVCacheBlock]) -> None:
        """As vLLM frees a request: the last block is the first to be evicted."""
        self._pool.free_blocks(reversed(blocks))

    def count(self, block: KVCacheBlock) -> int:
        return int(block.ref_cnt)


class KvCache:
    """Read-only view of the KV cache: never touches reference counts, the eviction order or the statistics."""

    def __init__(self, manager: KVCacheManager) -> None:
        self._manager = manager
        self._pool = manager.block_pool
        coordinator = manager.coordinator
        managers = coordinator.single_type_managers
        self._block_tokens = int(managers[0].block_size) if managers else 1
        # With one group of full attention and nothing else, a cached block implies those before it, nearly always.
        self._chained = (
            isinstance(coordinator, UnitaryKVCacheCoordinator)
            and isinstance(coordinator.kv_cache_spec, FullAttentionSpec)
            and not coordinator.eagle_group_ids
        )
        self.capacity_tokens = max(self._pool.num_gpu_blocks - 1, 1) * self._block_tokens
        self.block_tokens = self._block_tokens
        self.watermark_blocks = int(manager.watermark_blocks)

    @property
    def usage(self) -> float:
        """Share of the blocks in use, 0 to 1."""
        return float(self._pool.get_usage())

    @property
    def free_tokens(self) -> int:
        """Tokens for which there are free blocks, cached ones that may be evicted included."""
        return int(self._pool.get_num_free_blocks()) * self._block_tokens

    @property
    def free_blocks(self) -> int:
        return int(self._pool.get_num_free_blocks())

    @property
    def bisects(self) -> bool:
        """Whether `cached_tokens` is a binary search; else it is vLLM's own walk over the prompt's blocks."""
        return self._chained

    @property
    def tells_held(self) -> bool:
        """Whether `held_blocks` can tell: with a single group of full attention."""
        return self._chained

    def held_blocks(self, request: Request, cached_tokens: int, kept: Callable[[KVCacheBlock], int]) -> int:
        """Of the first `cached_tokens` of the request, blocks that others reference, but for the references that `kept`
        counts of a block: it needs no free ones for them.

        Binary search: who references a block references those before it.
        """
        low, high = 0, min(cached_tokens // self._block_tokens, len(request.block_hashes))
        block_of = self._pool.cached_block_hash_to_block.get_one_block
        while low < high:
            middle = (low + high) // 2
            block = block_of(make_block_hash_with_group_id(request.block_hashes[middle], 0))
            if block is not None and block.ref_cnt > kept(block):
                low = middle + 1
            else:
                high = middle
        return low

    def cached_tokens(self, request: Request, last_known: int = 0) -> int:
        """Prompt tokens that the prefix cache holds for the request now; cheapest where that is `last_known` still.

        Binary search over the request's block hashes: a lower bound of the last cached block's end where an inner
        block was evicted before a later one (vLLM frees the last blocks of a request first, so this is rare).
        """
        if not self._manager.prefix_cache_lookup_enabled(request):
            return 0
        if not self._chained:
            coordinator = self._manager.coordinator
            return int(coordinator.find_longest_cache_hit(request.block_hashes, request.num_tokens - 1)[1])
        hashes, block = request.block_hashes, self._pool.cached_block_hash_to_block.get_one_block
        low, high = 0, min(len(hashes), (request.num_tokens - 1) // self._block_tokens)
        middle = min(last_known // self._block_tokens, high)
        if middle and block(make_block_hash_with_group_id(hashes[middle - 1], 0)) is None:
            high = middle - 1
        else:
            low = middle
            if low < high and block(make_block_hash_with_group_id(hashes[low], 0)) is None:
                high = low
        while low < high:
            middle = (low + high) // 2
            if block(make_block_hash_with_group_id(hashes[middle], 0)) is None:
                high = middle
            else:
                low = middle + 1
        return low * self._block_tokens
