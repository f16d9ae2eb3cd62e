"""Contexts kept over a tool call: a finished turn's blocks stay referenced until the session's next turn holds them.

On vLLM V1 a tool call ends the request, and its blocks, though cached, may be evicted from then on. A pin is one more
reference on them. Pins are bounded in number of blocks, and none ever stops an allocation: they give way first.
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
"""Of the KV cache's blocks that may be pinned."""


@dataclass(slots=True, eq=False)
class Pin:
    session_id: str
    blocks: Sequence[KVCacheBlock]
    context_tokens: int
    since_s: float
    pause_s: float  # how long the tool is expected to take, or how long the pin may last
    claimed: bool = False  # the session's next turn has arrived and waits


Burden = Callable[[Pin], float]
"""What it costs to keep a pin; the costliest gives way first."""


class PinnedContexts:
    """One pin a session at most, `max_blocks` in all; blocks that two sessions share count twice."""

    def __init__(self, pool: BlockPool, max_blocks: int) -> None:
        self._pool = pool
        self._max_blocks = max_blocks
        self._pins: dict[str, Pin] = {}
        self.blocks = 0

    def __len__(self) -> int:
        return len(self._pins)

    def __iter__(self) -> Iterator[Pin]:
        return iter(tuple(self._pins.values()))

    def __contains__(self, session_id: object) -> bool:
        return session_id in self._pins

    def add(self, pin: Pin, burden: Burden) -> bool:
        """Keep a context, in place of costlier ones where the bound asks for it. False: it is the costliest itself."""
        self.release(pin.session_id)
        costlier = sorted((other for other in self if burden(other) > burden(pin)), key=burden, reverse=True)
        over = self.blocks + len(pin.blocks) - self._max_blocks
        if over > sum(len(other.blocks) for other in costlier):
            return False
        for other in costlier:
            if self.blocks + len(pin.blocks) <= self._max_blocks:
                break
            self.release(other.session_id)
        self._pool.touch(pin.blocks)
        self._pins[pin.session_id] = pin
        self.blocks += len(pin.blocks)
        return True

    def claim(self, session_id: str) -> None:
        if session_id in self._pins:
            self._pins[session_id].claimed = True

    def release(self, session_id: str) -> None:
        """Let a session's context go, if it is pinned; its last blocks are evicted first, as vLLM does it."""
        pin = self._pins.pop(session_id, None)
        if pin is not None:
            self.blocks -= len(pin.blocks)
            self._pool.free_blocks(reversed(pin.blocks))

    def give_up(self, burden: Burden) -> bool:
        """Let the costliest go, one that is claimed only after all others. False: there is none."""
        if not self._pins:
            return False
        self.release(max(self._pins.values(), key=lambda pin: (not pin.claimed, burden(pin))).session_id)
        return True

    def clear(self) -> None:
        for pin in self:
            self.release(pin.session_id)


class PinningScheduler(RankedScheduler):
    """A rival says which contexts it keeps (`pause_kept_s`), for how long (`keeps`) and which go first (`burden`)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        pool = self.kv_cache_manager.block_pool
        self._pins = PinnedContexts(pool, int(MAX_SHARE * (pool.num_gpu_blocks - 1)))
        self._allocate = self.kv_cache_manager.allocate_slots
        self.kv_cache_manager.allocate_slots = self._allocate_first  # type: ignore[method-assign]

    def pause_kept_s(self, request: Request) -> float | None:
        """`Pin.pause_s` of a turn that has just finished; None: its context is not kept."""
        raise NotImplementedError

    def keeps(self, pin: Pin) -> bool:
        """Asked each step of the pins that are not claimed."""
        raise NotImplementedError

    def burden(self, pin: Pin) -> float:
        raise NotImplementedError

    def add_request(self, request: Request) -> None:
        if request.session_id:
            self._pins.claim(request.session_id)
        super().add_request(request)

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        for pin in self._pins:
            if not (pin.claimed or self.keeps(pin)):
                self._pins.release(pin.session_id)
        return super().schedule(throttle_prefills)

    def update_from_output(
        self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput
    ) -> dict[int, EngineCoreOutputs]:
        outputs = super().update_from_output(scheduler_output, model_runner_output)
        if not self.requests:  # an idle engine evicts nothing, and no later step would release what is left
            self._pins.clear()
        return outputs

    def _free_blocks(self, request: Request) -> None:
        if request.session_id and request.status == RequestStatus.FINISHED_STOPPED:
            pause_s = self.pause_kept_s(request)
            blocks = [
                block
                for group in self.kv_cache_manager.get_blocks(request.request_id).blocks
                for block in group
                if block.block_hash is not None  # the others would never be found again
            ]
            if pause_s is not None and blocks:
                pin = Pin(request.session_id, blocks, request.num_tokens, self._clock(), pause_s)
                self._pins.add(pin, self.burden)
        super()._free_blocks(request)

    def _allocate_first(self, request: Request, num_new_tokens: int, *args: Any, **kwargs: Any) -> KVCacheBlocks | None:
        """vLLM's allocation; where it fails, pins give way one by one until it succeeds or none is left."""
        slots = self._allocate(request, num_new_tokens, *args, **kwargs)
        most = self.kv_cache_manager.block_pool.get_num_free_blocks() + self._pins.blocks
        # A lower bound of what is asked for: where not even all pins would yield it, none is given up for nothing.
        if slots is None and num_new_tokens // self.block_size <= most:
            while slots is None and self._pins.give_up(self.burden):
                slots = self._allocate(request, num_new_tokens, *args, **kwargs)
        if slots is not None and request.session_id:
            self._pins.release(request.session_id)  # the turn holds its context itself from here on
        return slots
