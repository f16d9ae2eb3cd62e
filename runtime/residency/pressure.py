"""Releases pins before a step, so that they block neither a running turn nor one that is offered."""

from dataclasses import dataclass

from .. import vllm_compat
from ..engine import Engine
from ..queueing.ordering import Ordering
from ..vllm_compat import Request
from .pins import Pins

HEADS = 32
"""Requests at the head of the queue that a step makes room for, at most."""


@dataclass(frozen=True, slots=True)
class _Head:
    """A waiting request, the blocks that it has claimed, and those of them that its prompt reuses."""

    request_id: str
    claimed_blocks: int
    reused_blocks: int
    demand: int  # free blocks for its admission


class Pressure:
    """Makes room for the running requests and for the head of the queue. Held turns are not in it."""

    def __init__(self, engine: Engine, pins: Pins, ordering: Ordering) -> None:
        self._engine = engine
        self._pins = pins
        self._references = pins.references
        self._ordering = ordering

    def make_room(self) -> None:
        now_s = self._engine.clock()
        references, scheduler = self._references, self._engine.scheduler
        count = min(HEADS, vllm_compat.free_seats(scheduler))
        most_each = 2 + self._ordering.longest_tokens // references.block_tokens
        bound = vllm_compat.step_demand(scheduler) + count * most_each * references.groups
        if references.free_blocks >= bound:
            return  # enough for any queue: skip the exact count
        requests = self._ordering.admissible(count, vllm_compat.token_budget(scheduler)) if count else []
        heads = list(map(self._head, requests, vllm_compat.prompt_demand(scheduler, requests)))
        demand = self._running_demand() + sum(head.demand for head in heads)
        self._pins.make_room(demand, now_s, {head.request_id for head in heads})
        self._give_up_claims(demand, heads)

    def _running_demand(self) -> int:
        """Blocks that the running requests take, and those that hold blocks without running."""
        engine = self._engine
        holding = vllm_compat.holding_demand(engine.scheduler)
        return engine.running_demand.blocks() + engine.kv_cache.watermark_blocks * self._references.groups + holding

    def _give_up_claims(self, demand: int, heads: list[_Head]) -> None:
        """If the heads do not all fit, release the claims of the last ones first. Releasing a turn's own claim frees
        only the blocks that its prompt does not reuse."""
        references = self._references
        for head in reversed(heads):
            missing = demand - references.free_blocks
            if missing <= 0:
                return
            if head.claimed_blocks - head.reused_blocks >= missing:
                self._pins.give_up_claim(head.request_id)
                return
            demand -= head.demand
            if references.free_blocks < demand:
                self._pins.give_up_claim(head.request_id)

    def _head(self, request: Request, prompt_demand: int) -> _Head:
        claimed = self._pins.claimed_blocks(request.request_id)
        if not claimed:
            return _Head(request.request_id, 0, 0, max(prompt_demand, 0))
        references = self._references
        cached = self._ordering.cached_tokens(request) // references.block_tokens * references.groups
        reused = min(claimed, cached)
        return _Head(request.request_id, claimed, reused, max(prompt_demand - reused, 0))
