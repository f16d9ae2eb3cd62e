"""Where sessions are placed, and that they stay there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.runtime.routing.placement import RememberedPlaces, SessionPlacement
from augserve.runtime.routing.rendezvous import rendezvous

backlogs = st.dictionaries(st.integers(0, 7), st.floats(0.0, 100.0), min_size=1, max_size=6)


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=3), backlogs), max_size=40))
def test_a_session_moves_only_from_a_lost_rank(arrivals: list[tuple[bytes, dict[int, float]]]) -> None:
    placement, places = SessionPlacement(), dict[bytes, int]()
    for key, backlogs_s in arrivals:
        rank, new = placement.place(key, None, backlogs_s)
        assert new == (rank != places.get(key))
        if places.get(key) in backlogs_s:
            assert rank == places[key]
        else:
            assert backlogs_s[rank] == min(backlogs_s.values())
        places[key] = rank


def test_a_sub_agent_goes_where_its_parent_is() -> None:
    placement = SessionPlacement()
    assert placement.place(b"parent", None, {0: 5.0, 1: 0.0}) == (1, True)
    assert placement.place(b"child", b"parent", {0: 0.0, 1: 9.0}) == (1, True)


def test_without_backlogs_sessions_are_spread_by_their_hash() -> None:
    placement = SessionPlacement()
    keys = [bytes([number]) for number in range(40)]
    ranks = {key: placement.place(key, None, dict.fromkeys(range(3), 0.0))[0] for key in keys}
    assert ranks == {key: rendezvous(key, range(3)) for key in keys}
    assert set(ranks.values()) == {0, 1, 2}


def test_without_a_live_rank_there_is_no_place() -> None:
    with pytest.raises(ValueError, match="empty"):
        SessionPlacement().place(b"a", None, {})


def test_the_session_not_seen_for_longest_is_forgotten() -> None:
    places = RememberedPlaces(most=2)
    for key in (b"a", b"b", b"a", b"c"):
        places.put(key, 1)
    assert [places.get(key) for key in (b"a", b"b", b"c")] == [1, None, 1]
