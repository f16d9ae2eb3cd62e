from hypothesis import given
from hypothesis import strategies as st

from augserve.runtime.residency.expiry import Expiry

SESSIONS = st.sampled_from("abcdef")
TIMES = st.integers(0, 5).map(float)


@given(st.lists(st.tuples(st.booleans(), SESSIONS, TIMES), max_size=30), TIMES)
def test_sessions_expire_in_order_of_time_whatever_came_and_went(
    changes: list[tuple[bool, str, float]], now_s: float
) -> None:
    expiry = Expiry()
    expected = dict[str, float]()
    for comes, session_id, at_s in changes:
        if comes and session_id not in expected:
            expiry.add(session_id, at_s)
            expected[session_id] = at_s
        elif not comes:
            expiry.discard(session_id, at_s)
            if expected.get(session_id) == at_s:
                del expected[session_id]
    order = sorted((at_s, session_id) for session_id, at_s in expected.items())
    assert expiry.until(now_s) == [session_id for at_s, session_id in order if at_s <= now_s]
    assert expiry.next_s(now_s) == min((at_s for at_s, _ in order if at_s > now_s), default=float("inf"))
    expiry.clear()
    assert expiry.until(10.0) == []
