"""KV blocks that vLLM's offloading connector keeps in host memory, read without side effects."""

from collections.abc import Sequence
from typing import Self

from .names import AsyncScheduler, BlockHash, CPUOffloadingManager, LookupResult, ReqContext, make_offload_key


class HostMemory:
    """Blocks of one full-attention group. vLLM loads them in chunks, each known by the hash of its last block."""

    def __init__(self, manager: CPUOffloadingManager, chunk_blocks: int) -> None:
        self._manager = manager
        self._chunk_blocks = chunk_blocks
        self._context = ReqContext(req_id="")  # the manager reads nothing of it in a look-up

    @classmethod
    def of(cls, scheduler: AsyncScheduler) -> Self | None:
        """None without the offloading connector, or where it keeps blocks elsewhere than in host memory."""
        connector = getattr(scheduler.connector, "connector_scheduler", None)
        manager = getattr(connector, "manager", None)
        if connector is None or not isinstance(manager, CPUOffloadingManager):
            return None
        return cls(manager, int(connector.config.blocks_per_chunk))

    def holds(self, hashes: Sequence[BlockHash], block: int) -> bool:
        """Whether the chunk of the block with this index is in host memory, or on its way there."""
        last = block + self._chunk_blocks - 1 - block % self._chunk_blocks
        if last >= len(hashes):
            return False
        return self._manager.lookup(make_offload_key(hashes[last], 0), self._context) is not LookupResult.MISS
