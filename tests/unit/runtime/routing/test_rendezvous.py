"""Invariants of rendezvous hashing."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from augserve.runtime.routing.rendezvous import rendezvous

fleets = st.sets(st.integers(0, 63), min_size=2, max_size=8)


@given(st.binary(max_size=40), fleets, st.randoms(use_true_random=False))
def test_the_order_of_the_ranks_does_not_matter(key: bytes, ranks: set[int], random) -> None:  # type: ignore[no-untyped-def]
    shuffled = list(ranks)
    random.shuffle(shuffled)
    assert rendezvous(key, shuffled) == rendezvous(key, sorted(ranks))


@given(st.binary(max_size=40), fleets, st.data())
def test_a_lost_rank_moves_its_own_keys_alone(key: bytes, ranks: set[int], data: st.DataObject) -> None:
    before, lost = rendezvous(key, ranks), data.draw(st.sampled_from(sorted(ranks)))
    after = rendezvous(key, ranks - {lost})
    assert after == before if before != lost else after in ranks - {lost}


def test_keys_spread_evenly() -> None:
    counts = Counter(rendezvous(f"session-{number}".encode(), range(4)) for number in range(4000))
    assert set(counts) == {0, 1, 2, 3}
    assert max(counts.values()) < 1.15 * min(counts.values())
