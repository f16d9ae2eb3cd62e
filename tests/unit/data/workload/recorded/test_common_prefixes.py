from augserve.data.tables.sessions import RecordedTurn
from augserve.data.workload.model import SharedPrefix
from augserve.data.workload.recorded.common_prefixes import common_prefixes


def session(
    name: str, *cached: int | None, engine: str | None = "0-a", source: str = "mine"
) -> tuple[RecordedTurn, ...]:
    """A session whose turns found so many tokens in the cache."""
    return tuple(
        RecordedTurn(
            source=source,
            session_id=name,
            turn=turn,
            split_group=name,
            arrival_s=float(turn),
            prompt_tokens=1_000,
            cached_tokens=tokens,
            output_tokens=5,
            engine=engine,
            calls=(),
        )
        for turn, tokens in enumerate(cached)
    )


def test_sessions_that_find_the_same_tokens_at_their_beginning_share_them() -> None:
    found = common_prefixes([session("a", 96), session("b", 96, 900), session("c", 96, 96)])
    assert set(found) == {("mine", "a"), ("mine", "b"), ("mine", "c")}
    assert set(found.values()) == {SharedPrefix("mine:common:96", 96)}


def test_the_session_that_computed_the_prefix_first_is_known_once_its_context_is_lost() -> None:
    others = [session(name, 96) for name in "bcd"]
    assert ("mine", "a") in common_prefixes([session("a", 0, 96), *others])
    assert ("mine", "a") not in common_prefixes([session("a", 0, 800), *others])


def test_a_length_that_few_sessions_find_is_no_shared_prefix() -> None:
    assert not common_prefixes(
        [session("a", 96), session("b", 96), session("c", 112), session("d", 0), session("e", None)]
    )


def test_sources_share_nothing_and_other_caches_tell_nothing() -> None:
    mixed = [session("a", 96), session("b", 96), session("c", 96, source="other")]
    assert not common_prefixes(mixed)
    assert not common_prefixes([session(name, 96, engine=None) for name in "abc"])
