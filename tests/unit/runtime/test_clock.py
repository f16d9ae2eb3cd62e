import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.runtime.clock import ArrivalClock, SteadyClock


def arrived(clock: ArrivalClock, now: list[float], events: list[tuple[float, float]]) -> list[float]:
    """Arrivals of requests of one API server, each given by the time it comes in and the server's own time."""
    times_s = []
    for now_s, sent_s in events:
        now[0] = now_s
        times_s.append(clock.arrived_s(0, sent_s))
    return times_s


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def clock(now: list[float]) -> ArrivalClock:
    return ArrivalClock(lambda: now[0])


@pytest.mark.parametrize("step_s", [-3600.0, 3600.0])
def test_a_step_of_the_system_s_clock_does_not_move_the_engine_s(
    monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    clock, original = SteadyClock(), time.time
    before_s = clock()
    assert before_s == pytest.approx(time.time(), abs=1.0)
    monkeypatch.setattr(time, "time", lambda: original() + step_s)
    assert 0 <= clock() - before_s < 1.0


@pytest.mark.parametrize("skew_s", [-3600.0, -2.0, 0.0, 2.0, 3600.0])
def test_a_server_whose_clock_is_wrong_has_the_same_arrivals(
    clock: ArrivalClock, now: list[float], skew_s: float
) -> None:
    """The second request waited 50 ms for the end of a step."""
    assert arrived(clock, now, [(10.0, 9.99 + skew_s), (11.0, 10.94 + skew_s)]) == pytest.approx(
        [10.0, 10.95], abs=0.011
    )


def test_a_request_that_waits_for_a_long_step_has_arrived_before_it(clock: ArrivalClock, now: list[float]) -> None:
    assert arrived(clock, now, [(10.0, 10.0), (14.0, 10.5), (14.0, 13.0)]) == pytest.approx([10.0, 10.5, 13.0])


def test_the_time_of_a_server_whose_clock_agrees_is_taken_as_it_is(clock: ArrivalClock, now: list[float]) -> None:
    assert arrived(clock, now, [(10.0, 9.95), (14.0, 10.5), (14.0, 13.9)]) == pytest.approx([9.95, 10.5, 13.9])


def test_each_server_has_its_own_clock(clock: ArrivalClock, now: list[float]) -> None:
    now[0] = 10.0
    assert [clock.arrived_s(server, sent_s) for server, sent_s in ((0, 10.0), (1, 8.0))] == [10.0, 10.0]


def test_after_a_step_of_a_server_s_clock_its_requests_arrive_as_they_come_in(
    clock: ArrivalClock, now: list[float]
) -> None:
    events = [(10.0, 10.0), (11.0, -3589.0), (12.0, -3588.05), (13.0, 5000.0), (14.0, 5000.95)]
    assert arrived(clock, now, events) == pytest.approx([10.0, 11.0, 11.95, 13.0, 13.95], abs=1e-6)


def test_a_small_step_back_is_forgotten(clock: ArrivalClock, now: list[float]) -> None:
    events = [(0.0, 0.0), *((float(second), second - 2.0) for second in range(1, 700))]
    assert arrived(clock, now, events)[-1] == pytest.approx(699.0)


@given(st.lists(st.tuples(st.floats(0.0, 10.0), st.floats(-1e4, 1e4)), min_size=1, max_size=30))
def test_no_arrival_is_in_the_future_or_long_ago(events: list[tuple[float, float]]) -> None:
    now = [0.0]
    clock = ArrivalClock(lambda: now[0])
    for pause_s, sent_s in events:
        now[0] += pause_s
        assert now[0] - ArrivalClock.LONGEST_S - 1e-6 <= clock.arrived_s(0, sent_s) <= now[0] + 1e-6
