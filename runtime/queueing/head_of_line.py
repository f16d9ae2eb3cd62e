"""Head of line: a turn that the free KV cache cannot hold lets smaller ones pass, for a bounded time.

vLLM stops admitting at the first request that finds no room. That keeps free blocks for it, and everybody behind it
waiting. Here it first steps behind those that fit; once it has been passed over for `pass_over_s`, it goes first and
vLLM's way of stopping is its reservation: what becomes free stays free until it fits.
"""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple, Protocol

from .. import vllm_compat
from ..vllm_compat import AsyncScheduler, KvCache, Request, RunningDemand

FRONT = 32
"""Of the foremost turns, so many at most are looked at in a step."""


class Demand(NamedTuple):
    """What a waiting turn needs of the next step to be admitted."""

    blocks: int  # free ones, of the KV cache
    tokens: int  # to be computed


class Front(Protocol):
    """The waiting queue, as far as this needs it; see queue.WaitingQueue."""

    def __contains__(self, request: object) -> bool: ...

    def foremost(self, count: int) -> list[Request]: ...

    def defer(self, requests: Collection[Request]) -> None: ...


class PassingOver:
    """Who may go before whom; one turn at a time has a reservation, the one that was passed over first."""

    def __init__(self, pass_over_s: float, longest_s: float) -> None:
        """`longest_s`: how long a reservation lasts at most, where what holds the cache never ends (a paused streaming
        session): then others pass again."""
        self._pass_over_s = pass_over_s
        self._longest_s = longest_s
        self._since_s: dict[Request, float] = {}  # passed over first, first

    def reserved(self, queue: Front, now_s: float) -> Request | None:
        """The waiting turn that has been passed over for long enough, and goes first now."""
        for request, since_s in list(self._since_s.items()):
            if now_s < since_s:
                self._since_s[request] = now_s  # the clock was set back: by no more than that does it wait longer
            elif request not in queue or now_s - since_s > self._pass_over_s + self._longest_s:
                del self._since_s[request]  # admitted, gone, or reserved for in vain
            elif now_s - since_s >= self._pass_over_s:
                return request
        return None

    def arrange(
        self, queue: Front, demand: Callable[[Request, int], Demand], free_blocks: int, token_budget: int, now_s: float
    ) -> list[Request]:
        """Walk along the ranked queue as a step would, and let those step behind that do not fit; gives them. Nobody
        passes a turn that has a reservation. `demand` is asked with the number of blocks that are still free."""
        passed: list[Request] = []
        for request in queue.foremost(FRONT):
            if free_blocks <= 0 or token_budget <= 0:
                break
            blocks, tokens = demand(request, free_blocks)
            if blocks <= free_blocks:
                free_blocks -= blocks
                token_budget -= tokens
            elif now_s - self._since_s.setdefault(request, now_s) >= self._pass_over_s:
                break
            else:
                passed.append(request)
        if passed:
            queue.defer(passed)
        return passed


def block_demand(
    kv_cache: KvCache, request: Request, cached_tokens: int, free_blocks: int, kept: Callable[[Any], int]
) -> Demand:
    """Of a request whose whole prompt must find room, `cached_tokens` of it in the prefix cache. Looks at single blocks
    only where `free_blocks` leave the answer open: those that others reference need no free ones. Among these are not
    those that are only kept, as often as `kept` tells: `room_of` counts them as free already."""
    tokens, block_tokens = request.num_tokens, kv_cache.block_tokens
    uncached = max(tokens - cached_tokens, 1)
    blocks = -(-tokens // block_tokens)
    if blocks > free_blocks >= -(-uncached // block_tokens):
        blocks -= kv_cache.held_blocks(request, cached_tokens, kept)
    return Demand(blocks, uncached)


def room_of(
    scheduler: AsyncScheduler, kv_cache: KvCache, running: RunningDemand, kept_blocks: Callable[[], int]
) -> Callable[[], int] | None:
    """What tells the free blocks that waiting requests may take in the next step: those that running ones take come
    off, and `kept_blocks` of paused sessions give way. None where vLLM admits by less than whole prompts, or where
    nobody can tell what is held."""
    if not (vllm_compat.reserves_whole_prompts(scheduler) and kv_cache.tells_held):
        return None

    def room() -> int:
        taken = running.blocks() + kv_cache.watermark_blocks
        return kv_cache.free_blocks + kept_blocks() - taken

    return room
