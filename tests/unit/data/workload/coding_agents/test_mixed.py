import pytest

from augserve.data.workload.closed_loop import with_capped_pauses
from augserve.data.workload.coding_agents.mixed import CHAT_SESSIONS, mixed_sessions
from augserve.data.workload.model import WorkloadError
from augserve.data.workload.steady_state import nominal_s

CODING = {"swe-agent", "pair-programmer"}


def test_chat_sessions_follow_each_coding_session():
    kinds = [session.kind in CODING for session in mixed_sessions(5 * (CHAT_SESSIONS + 1), seed=2)]
    assert kinds == 5 * [True, *CHAT_SESSIONS * [False]]


def test_both_kinds_take_about_equal_time_where_pauses_are_capped_at_a_minute():
    times = {True: 0.0, False: 0.0}
    for session in mixed_sessions(6_000, seed=3):
        times[session.kind in CODING] += nominal_s(with_capped_pauses(session, 60.0))
    assert times[True] / sum(times.values()) == pytest.approx(0.5, abs=0.1)


def test_a_session_depends_on_its_seed_and_place_alone():
    assert mixed_sessions(12, seed=4) == mixed_sessions(30, seed=4)[:12]
    ids = [session.session_id for session in mixed_sessions(300, seed=4)]
    assert len(set(ids)) == len(ids)


def test_a_count_that_is_not_positive_is_refused():
    with pytest.raises(WorkloadError, match="mixed"):
        mixed_sessions(0, seed=1)
