"""Which free blocks a waiting turn needs."""

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from vllm.sampling_params import SamplingParams

from augserve.runtime.queueing.free_room import FreeRoom
from augserve.runtime.vllm_compat import Request

PARAMS = SamplingParams(max_tokens=4)
PINS: Any = SimpleNamespace(pin_count=lambda _: 0, releasable_blocks=7)


def request(blocks: int) -> Request:
    return Request("r", [1] * (16 * blocks), PARAMS, None, arrival_time=0.0)


class Cache:
    """A KV cache in which other requests reference the first blocks of any request."""

    block_tokens = 16
    free_blocks = 100
    watermark_blocks = 3
    chained = True

    def __init__(self, held: int = 0) -> None:
        self.held = held
        self.asked = 0

    def held_blocks(self, each: Any, cached_tokens: int, pinned: Any) -> int:
        self.asked += 1
        return min(self.held, cached_tokens // 16)


def free_room(cache: Any, reserves_whole_prompts: bool = True) -> FreeRoom:
    scheduler = SimpleNamespace(scheduler_reserve_full_isl=reserves_whole_prompts)
    running_demand = SimpleNamespace(blocks=lambda: 10)
    engine: Any = SimpleNamespace(scheduler=scheduler, kv_cache=cache, running_demand=running_demand)
    return FreeRoom(engine, PINS)


@given(st.integers(1, 50), st.integers(0, 50), st.integers(0, 50), st.integers(0, 60))
def test_referenced_blocks_are_counted_only_where_they_decide(blocks: int, cached: int, held: int, free: int) -> None:
    cache, cached_tokens = Cache(held), 16 * min(cached, blocks - 1)
    demand = free_room(cache).demand(request(blocks), cached_tokens, free)
    exact = blocks - min(held, cached, blocks - 1)
    assert (demand.blocks <= free) == (exact <= free)
    assert not cache.asked or demand.blocks == exact
    assert demand.tokens == max(16 * blocks - cached_tokens, 1)


def test_pinned_blocks_count_as_free_and_running_requests_come_first() -> None:
    assert free_room(Cache()).blocks() == 100 + 7 - 10 - 3


def test_room_is_not_countable_where_vllm_admits_parts_of_prompts() -> None:
    assert free_room(Cache()).is_countable
    assert not free_room(Cache(), reserves_whole_prompts=False).is_countable
