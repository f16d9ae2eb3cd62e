"""Pins on vLLM's own block pool."""

from hypothesis import given
from hypothesis import strategies as st
from vllm.v1.core.block_pool import BlockPool
from vllm.v1.core.kv_cache_utils import KVCacheBlock

from augserve.pipeline.simulator.rivals.pinned import PinnedContext, PinnedContexts

BLOCKS = 40
ACTIONS = st.tuples(st.sampled_from(["pin", "claim", "release", "give up"]), st.integers(0, 5), st.integers(1, 15))


def pool() -> BlockPool:
    return BlockPool(BLOCKS + 1, enable_caching=True, hash_block_size=16)  # one is the null block


def pin(session_id: str, blocks: list[KVCacheBlock], pause_s: float = 1.0) -> PinnedContext:
    return PinnedContext(session_id, blocks, 16 * len(blocks), 0.0, pause_s)


def cost(of: PinnedContext) -> float:
    return of.pause_s * of.context_tokens


def finish(blocks: BlockPool, pins: PinnedContexts, session_id: str, count: int, pause_s: float = 1.0) -> bool:
    """A turn with `count` blocks finishes: they are pinned if possible, then the turn releases them."""
    held = blocks.get_new_blocks(count)
    kept = pins.add(pin(session_id, held, pause_s), cost)
    blocks.free_blocks(reversed(held))
    return kept


def test_pinned_blocks_are_not_free_until_they_are_released() -> None:
    blocks = pool()
    pins = PinnedContexts(blocks, 30)
    assert finish(blocks, pins, "a", 10)
    assert (len(pins), pins.blocks, blocks.get_num_free_blocks()) == (1, 10, 30)
    pins.release("a")
    assert (len(pins), pins.blocks, blocks.get_num_free_blocks()) == (0, 0, 40)


def test_a_session_has_one_pin() -> None:
    blocks = pool()
    pins = PinnedContexts(blocks, 30)
    finish(blocks, pins, "a", 10)
    finish(blocks, pins, "a", 12)
    assert (len(pins), pins.blocks) == (1, 12)


def test_the_most_expensive_pin_is_released_first_and_a_claimed_one_last() -> None:
    blocks = pool()
    pins = PinnedContexts(blocks, 40)
    for name, pause_s in (("short", 1.0), ("long", 9.0), ("claimed", 99.0)):
        finish(blocks, pins, name, 5, pause_s)
    pins.claim("claimed")
    left = []
    while pins.release_dearest(cost):
        left.append(sorted(of.session_id for of in pins))
    assert left == [["claimed", "short"], ["claimed"], []]
    assert blocks.get_num_free_blocks() == BLOCKS


def test_at_the_limit_a_context_replaces_only_more_expensive_ones() -> None:
    blocks = pool()
    pins = PinnedContexts(blocks, 10)
    finish(blocks, pins, "a", 8, pause_s=5.0)
    assert not finish(blocks, pins, "costlier", 8, pause_s=6.0)
    assert "a" in pins
    assert finish(blocks, pins, "cheaper", 8, pause_s=4.0)
    assert "a" not in pins
    assert not finish(blocks, pins, "too large", 11, pause_s=0.1)
    assert pins.blocks == 8


@given(actions=st.lists(ACTIONS, max_size=60), max_blocks=st.integers(1, BLOCKS))
def test_pins_stay_within_their_share_and_never_block_an_allocation(
    actions: list[tuple[str, int, int]], max_blocks: int
) -> None:
    blocks = pool()
    pins = PinnedContexts(blocks, max_blocks)
    for action, session, count in actions:
        name = str(session)
        if action == "pin":
            while blocks.get_num_free_blocks() < count:
                assert pins.release_dearest(cost)  # all blocks that are not free are pinned
            finish(blocks, pins, name, count, pause_s=float(session))
        elif action == "claim":
            pins.claim(name)
        elif action == "release":
            pins.release(name)
        else:
            pins.release_dearest(cost)
        assert pins.blocks == sum(len(of.blocks) for of in pins) <= max_blocks
        assert blocks.get_num_free_blocks() == BLOCKS - pins.blocks
    pins.clear()
    assert blocks.get_num_free_blocks() == BLOCKS
