import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augserve.data.workload.arrivals import (
    MAX_SESSIONS,
    Burst,
    Gamma,
    Poisson,
    Recorded,
    Swing,
    parse_arrivals,
    session_count,
)
from augserve.data.workload.model import WorkloadError

GENERATED = [Poisson(), Gamma(0.5), Gamma(3.0), Burst(), Swing()]


def random(seed=1):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("process", GENERATED, ids=repr)
def test_the_mean_rate_is_the_one_asked_for(process):
    times = process.times(40_000, 8.0, random())
    assert len(times) / times[-1] == pytest.approx(8.0, rel=0.05)


@pytest.mark.parametrize("cv", [0.5, 1.0, 3.0])
def test_gaps_of_gamma_have_the_cv_asked_for(cv):
    gaps = np.diff(Gamma(cv).times(60_000, 2.0, random()))
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.05)


def test_bursts_bring_their_share_of_the_sessions_at_the_start_of_each_period():
    times = Burst(period_s=10.0, share=0.2, factor=4.0).times(50_000, 20.0, random())
    assert np.mean(times % 10.0 < 2.0) == pytest.approx(0.8, abs=0.01)


def test_a_burst_may_hold_all_sessions():
    times = Burst(period_s=10.0, share=0.25, factor=4.0).times(5_000, 20.0, random())
    assert np.all(times % 10.0 <= 2.5 + 1e-6)


@given(
    process=st.sampled_from([Poisson(), Gamma(0.7), Gamma(2.0)]),
    rate=st.floats(0.01, 100),
    seed=st.integers(0, 9),
    count=st.integers(1, 200),
)
@settings(max_examples=60, deadline=None)
def test_another_rate_only_stretches_the_arrivals(process, rate, seed, count):
    base = process.times(count, 1.0, random(seed))
    assert np.all(np.diff(base) >= 0)
    assert base[0] >= 0
    np.testing.assert_allclose(process.times(count, rate, random(seed)) * rate, base)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_recorded_starts_are_kept_to_the_bit_at_scale_1(starts):
    starts.sort()
    assert Recorded().times(starts, None).tolist() == [start - starts[0] for start in starts]


def test_a_rate_stretches_recorded_starts_by_one_factor():
    times = Recorded().times([100.0, 101.0, 104.0], 1.0)  # recorded at 0.5/s
    assert times.tolist() == [0.0, 0.5, 2.0]


def test_recorded_starts_at_one_time_have_no_rate():
    assert Recorded().times([7.0, 7.0], None).tolist() == [0.0, 0.0]
    with pytest.raises(WorkloadError, match="arrivals"):
        Recorded().times([7.0, 7.0], 2.0)


@pytest.mark.parametrize(
    ("text", "process"),
    [
        ("poisson", Poisson()),
        ("gamma:2.5", Gamma(2.5)),
        ("burst", Burst()),
        ("swing", Swing()),
        ("recorded", Recorded()),
    ],
)
def test_a_process_is_read_from_its_name(text, process):
    assert parse_arrivals(text) == process


@pytest.mark.parametrize("text", ["uniform", "gamma", "poisson:2", "gamma:x", "gamma:0", "gamma:-1", "gamma:nan"])
def test_an_unknown_process_is_refused_in_one_line(text):
    with pytest.raises(WorkloadError, match="arrivals") as caught:
        parse_arrivals(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("arguments", [(60.0, 0.3, 4.0), (60.0, 0.2, 0.5), (0.0, 0.2, 4.0), (60.0, 0.0, 1.0)])
def test_bursts_that_cannot_be_are_refused(arguments):
    with pytest.raises(WorkloadError):
        Burst(*arguments)


@pytest.mark.parametrize(
    ("duration", "rate"), [(0, 1), (-5, 1), (math.nan, 1), (math.inf, 1), (1, 0), (1, -1), (1, math.nan), (1, math.inf)]
)
def test_a_duration_or_rate_that_is_not_positive_is_refused(duration, rate):
    with pytest.raises(WorkloadError, match="positive"):
        session_count(duration, rate)


def test_more_sessions_than_memory_holds_are_refused():
    with pytest.raises(WorkloadError, match=str(MAX_SESSIONS)):
        session_count(1e6, 1e6)


def test_a_swing_goes_from_its_trough_to_its_peak_and_back() -> None:
    times = Swing(period_s=10.0, ratio=10.0).times(100_000, 20.0, random())
    within, periods = times % 10.0, times[-1] / 10.0
    trough, peak = (np.sum(np.abs((within - at + 5) % 10 - 5) < 0.25) / periods / 0.5 / 20.0 for at in (0.0, 5.0))
    assert trough == pytest.approx(2 / 11, rel=0.1)
    assert peak == pytest.approx(20 / 11, rel=0.05)


def test_a_swing_without_height_is_poisson() -> None:
    even, plain = (process.times(500, 3.0, random()) for process in (Swing(ratio=1.0), Poisson()))
    assert even == pytest.approx(plain)


@pytest.mark.parametrize("arguments", [(0.0, 10.0), (60.0, 0.5), (60.0, float("nan"))])
def test_a_swing_that_cannot_be_is_refused(arguments: tuple[float, float]) -> None:
    with pytest.raises(WorkloadError):
        Swing(*arguments)
