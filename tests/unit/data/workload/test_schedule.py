import math

import numpy as np
import pytest

from augserve.data.workload.arrivals import Burst, Gamma, Poisson, covering_count
from augserve.data.workload.mix import MIX, MIX_SWING, augmentation_sessions, steady_sessions
from augserve.data.workload.model import Session, Turn, WorkloadError
from augserve.data.workload.recorded.sessions import RecordedSession
from augserve.data.workload.schedule import MIXES, mix_load, trace_load
from augserve.data.workload.steady_state import LEAD_S


def recorded(name="s", start=0.0):
    return RecordedSession("made", name, name, start, Session(f"made:{name}", "made", 0.0, (Turn(5, 5),)))


def test_the_mix_at_poisson_arrivals_is_what_it_always_was():
    assert mix_load(Poisson(), 4.0, 30.0, seed=9).sessions == steady_sessions(30.0, 4.0, 9)


@pytest.mark.parametrize("process", [Gamma(2.0), Burst()], ids=repr)
def test_another_process_gives_the_mix_s_sessions_at_other_times(process):
    load = mix_load(process, 4.0, 30.0, seed=9).sessions
    same = {s.session_id: s for s in augmentation_sessions(covering_count(LEAD_S + 30.0, 4.0), 4.0, 9)}
    assert len(load) > 100
    for session in load:
        turns = same[session.session_id].turns
        assert session.turns[1:] == turns[len(turns) - len(session.turns) + 1 :]


def test_the_swing_of_the_pipeline_begins_at_its_trough_and_peaks_half_a_minute_later_at_the_same_mean():
    lasting_s, rate_per_s = 60.0, 20.0
    whole = {s.session_id: len(s.turns) for s in augmentation_sessions(covering_count(LEAD_S + 60.0, 20.0), 20.0, 3)}

    def begun(name):
        """New sessions in each sixth, relative to the rate; those under way from before have fewer turns."""
        load = mix_load(MIXES[name], rate_per_s, lasting_s, seed=3).sessions
        times = [s.arrival_s for s in load if len(s.turns) == whole[s.session_id]]
        return np.histogram(times, bins=6, range=(0, lasting_s))[0] / 10 / rate_per_s

    steady, swing = begun(MIX), begun(MIX_SWING)
    assert swing.mean() == pytest.approx(steady.mean(), rel=0.1)
    assert steady.min() > 0.75
    assert swing[[0, -1]].max() < 0.5
    assert swing[[2, 3]].min() > 1.4


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("process", [Poisson(), Gamma(2.0)], ids=repr)
def test_a_rate_that_is_not_positive_is_one_line(process, rate):
    for make in (
        lambda: mix_load(process, rate, 10.0, 1),
        lambda: trace_load([recorded()], process, rate, 10.0, 1),
    ):
        with pytest.raises(WorkloadError, match="positive"):
            make()


@pytest.mark.parametrize("duration", [0.0, -1.0, math.nan])
def test_a_duration_that_is_not_positive_is_one_line(duration):
    with pytest.raises(WorkloadError, match="positive"):
        mix_load(Poisson(), 1.0, duration, 1)
    with pytest.raises(WorkloadError, match="positive"):
        trace_load([recorded()], Poisson(), 1.0, duration, 1)


def test_nothing_to_run_is_one_line():
    with pytest.raises(WorkloadError, match="session"):
        trace_load([], Poisson(), 1.0, 10.0, 1)


@pytest.mark.parametrize("seed", range(8))
def test_sessions_arrive_up_to_the_end(seed):
    begun = [s.arrival_s for s in mix_load(Poisson(), 20.0, 6.0, seed).sessions if s.prompt_tokens(0) and s.turns]
    assert max(begun) > 5.0
    times = [s.arrival_s for s in trace_load([recorded()], Poisson(), 20.0, 6.0, seed).sessions]
    assert 5.0 < max(times) < 6.0
