from hypothesis import given
from hypothesis import strategies as st

from augserve.runtime.sessions.keys import HASHED, LONGEST, session_key

IDS = st.one_of(st.text(max_size=80), st.text(max_size=3).map(lambda text: f"{HASHED}{text}"))
OWNERS = st.one_of(st.none(), st.text(max_size=5))


@given(st.lists(st.tuples(IDS, OWNERS), min_size=2, max_size=6, unique=True))
def test_each_tenant_has_sessions_of_its_own(named: list[tuple[str, str | None]]) -> None:
    keys = {session_key(*each) for each in named}
    assert len(keys) == len(named)
    assert max(map(len, keys)) <= LONGEST
    again = {session_key(key, None) for key in keys if key.startswith(HASHED)}
    assert not keys & again  # a caller that knows a key cannot name the session by it


def test_a_key_is_the_same_in_every_process() -> None:
    assert session_key("session-1", "a") == "#ba496a3370388a9dd3670c17b0b9f673"
    assert session_key("session-1", None) == "session-1"


def test_an_id_of_many_megabytes_has_a_short_key() -> None:
    assert len(session_key("x" * 30_000_000, None)) <= LONGEST
