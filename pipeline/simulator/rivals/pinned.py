"""Pinning for the rivals: the KV blocks of a finished turn stay referenced until the session's next turn runs.

Unlike runtime/residency, each rival ranks pins by a cost of its own, and an allocation that fails releases pins one by
one until it succeeds.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vllm.v1.core.block_pool import BlockPool
from vllm.v1.core.kv_cache_manager import KVCacheBlocks
from vllm.v1.core.kv_cache_utils import KVCacheBlock
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.engine import EngineCoreOutputs
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus

from .ranked import RankedScheduler

MAX_SHARE = 0.9
"""Share of the KV blocks that may be pinned."""


@dataclass(slots=True, eq=False)
class PinnedContext:
    session_id: str
    blocks: Sequence[KVCacheBlock]
    context_tokens: int
    since_s: float
    pause_s: float  # expected duration of the tool call, or the time to live
    claimed: bool = False  # the next turn of the session is waiting


Cost = Callable[[PinnedContext], float]
"""Cost of keeping a context pinned; the most expensive one is released first."""


class PinnedContexts:
    """At most one context a session and `max_blocks` in total; a block that two sessions share counts twice."""

    def __init__(self, pool: BlockPool, max_blocks: int) -> None:
        self._pool = pool
        self._max_blocks = max_blocks
        self._contexts: dict[str, PinnedContext] = {}
        self.blocks = 0

    def __len__(self) -> int:
        return len(self._contexts)

    def __iter__(self) -> Iterator[PinnedContext]:
        return iter(tuple(self._contexts.values()))

    def __contains__(self, session_id: object) -> bool:
        return session_id in self._contexts

    def add(self, context: PinnedContext, cost: Cost) -> bool:
        """Pin a context, and release more expensive ones if the limit requires it. False if that is not enough."""
        self.release(context.session_id)
        dearer = sorted((other for other in self if cost(other) > cost(context)), key=cost, reverse=True)
        excess = self.blocks + len(context.blocks) - self._max_blocks
        if excess > sum(len(other.blocks) for other in dearer):
            return False
        for other in dearer:
            if self.blocks + len(context.blocks) <= self._max_blocks:
                break
            self.release(other.session_id)
        self._pool.touch(context.blocks)
        self._contexts[context.session_id] = context
        self.blocks += len(context.blocks)
        return True

    def claim(self, session_id: str) -> None:
        if session_id in self._contexts:
            self._contexts[session_id].claimed = True

    def release(self, session_id: str) -> None:
        """Unpin the context of a session, if it has one. As in vLLM, its last blocks are evicted first."""
        context = self._contexts.pop(session_id, None)
        if context is not None:
            self.blocks -= len(context.blocks)
            self._pool.free_blocks(reversed(context.blocks))

    def release_dearest(self, cost: Cost) -> bool:
        """Release the most expensive context, a claimed one only if all are claimed. False if none is pinned."""
        if not self._contexts:
            return False
        self.release(max(self._contexts.values(), key=lambda pinned: (not pinned.claimed, cost(pinned))).session_id)
        return True

    def clear(self) -> None:
        for context in self:
            self.release(context.session_id)


class PinningScheduler(RankedScheduler):
    """A rival decides what to pin (`pinned_pause_s`), for how long (`stays_pinned`) and at what cost (`cost`)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        pool = self.kv_cache_manager.block_pool
        self.pins = PinnedContexts(pool, int(MAX_SHARE * (pool.num_gpu_blocks - 1)))
        self._allocate = self.kv_cache_manager.allocate_slots
        self.kv_cache_manager.allocate_slots = self._allocate_first  # type: ignore[method-assign]

    def pinned_pause_s(self, request: Request) -> float | None:
        """`PinnedContext.pause_s` for a turn that has just finished; None if its context is not pinned."""
        raise NotImplementedError

    def looks_again_s(self) -> float:
        """Pins are reviewed in each step."""
        return float("-inf") if len(self.pins) else super().looks_again_s()

    def stays_pinned(self, context: PinnedContext) -> bool:
        """Called in each step for the contexts that are not claimed."""
        raise NotImplementedError

    def cost(self, context: PinnedContext) -> float:
        raise NotImplementedError

    def release_one(self) -> bool:
        """Called for an allocation that has failed. False if no pin may be released."""
        return self.pins.release_dearest(self.cost)

    def add_request(self, request: Request) -> None:
        if request.session_id:
            self.pins.claim(request.session_id)
        super().add_request(request)

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        for context in self.pins:
            if not (context.claimed or self.stays_pinned(context)):
                self.pins.release(context.session_id)
        return super().schedule(throttle_prefills)

    def update_from_output(
        self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput
    ) -> dict[int, EngineCoreOutputs]:
        outputs = super().update_from_output(scheduler_output, model_runner_output)
        if not self.requests:  # an idle engine evicts nothing, and no later step would release the pins
            self.pins.clear()
        return outputs

    def _free_blocks(self, request: Request) -> None:
        if request.session_id and request.status == RequestStatus.FINISHED_STOPPED:
            pause_s = self.pinned_pause_s(request)
            blocks = [
                block
                for group in self.kv_cache_manager.get_blocks(request.request_id).blocks
                for block in group
                if block.block_hash is not None  # the prefix cache cannot find the others
            ]
            if pause_s is not None and blocks:
                context = PinnedContext(request.session_id, blocks, request.num_tokens, self._clock(), pause_s)
                self.pins.add(context, self.cost)
        super()._free_blocks(request)

    def _allocate_first(self, request: Request, num_new_tokens: int, *args: Any, **kwargs: Any) -> KVCacheBlocks | None:
        """vLLM's allocation. If it fails, release pins one by one until it succeeds or no pin is left."""
        slots = self._allocate(request, num_new_tokens, *args, **kwargs)
        most = self.kv_cache_manager.block_pool.get_num_free_blocks() + self.pins.blocks
        # `num_new_tokens` is a lower bound of the demand: if all pins together are too few, release none in vain.
        if slots is None and num_new_tokens // self.block_size <= most:
            while slots is None and self.release_one():
                slots = self._allocate(request, num_new_tokens, *args, **kwargs)
        if slots is not None and request.session_id:
            self.pins.release(request.session_id)  # the turn references the blocks itself now
        return slots
