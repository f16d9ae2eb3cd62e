from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from augserve.runtime.residency.pinned_blocks import PinnedBlocks


@dataclass(frozen=True)
class Block:
    number: int


@dataclass
class Cache:
    """References of pins and requests on each block."""

    references: Counter[Block] = field(default_factory=Counter)

    def count(self, block: Block) -> int:
        return self.references[block]


BLOCKS = [Block(number) for number in range(60)]
SHARED = 10
"""Blocks at the start of every chain: a prompt that all sessions have."""


def chain(session: int, own: int) -> list[Block]:
    start = SHARED + 10 * session
    return [*BLOCKS[:SHARED], *BLOCKS[start : start + own]]


def pinned(chains: list[list[Block]]) -> tuple[PinnedBlocks, Cache]:
    cache = Cache()
    blocks = PinnedBlocks(cache)  # type: ignore[arg-type]
    for each in chains:
        blocks.add(each)  # type: ignore[arg-type]
        cache.references.update(each)
    return blocks, cache


def unpinned(blocks: PinnedBlocks, cache: Cache, chains: list[list[Block]]) -> None:
    for each in chains:
        blocks.remove(each)  # type: ignore[arg-type]
        cache.references.subtract(each)


OWN = st.lists(st.integers(0, 10), min_size=1, max_size=5)
"""Blocks of its own that each session has."""


@given(OWN, st.lists(st.tuples(st.integers(0, 4), st.integers(0, 20)), max_size=4))
def test_blocks_in_use_are_those_that_requests_reference(own: list[int], uses: list[tuple[int, int]]) -> None:
    """Each request references the first blocks of one chain."""
    chains = [chain(session, count) for session, count in enumerate(own)]
    blocks, cache = pinned(chains)
    requests = [chains[session % len(chains)][:length] for session, length in uses]
    for request in requests:
        cache.references.update(request)
    expected = {block for request in requests for block in request}
    assert blocks.in_use(chains, []) == blocks.in_use([], chains) == len(expected)  # type: ignore[arg-type]


@given(OWN)
def test_a_block_of_several_pins_counts_once_until_the_last_one_goes(own: list[int]) -> None:
    chains = [chain(session, count) for session, count in enumerate(own)]
    blocks, cache = pinned(chains)
    assert len(blocks) == SHARED + sum(own)
    assert blocks.pins_of(BLOCKS[0]) == len(own)  # type: ignore[arg-type]
    unpinned(blocks, cache, chains[1:])
    assert len(blocks) == SHARED + own[0]
    unpinned(blocks, cache, chains[:1])
    assert len(blocks) == 0


def test_a_request_may_use_a_twin_of_a_block_and_the_pins_next_one() -> None:
    pin = chain(0, 10)
    blocks, cache = pinned([pin])
    cache.references.update([BLOCKS[50], *pin[1:15]])
    assert blocks.in_use([], [pin]) == 14  # type: ignore[arg-type]
