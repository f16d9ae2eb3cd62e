"""Simulations on vLLM's real scheduler, KV-cache manager and prefix cache."""

import dataclasses

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from augserve.data.workload.model import Session, ToolCall, Turn
from augserve.pipeline.simulator import loop
from augserve.pipeline.simulator.catalogue import SIMULATED
from augserve.pipeline.simulator.clock import VirtualClock
from augserve.pipeline.simulator.engine import build_scheduler
from augserve.pipeline.simulator.errors import SimulationError
from augserve.pipeline.simulator.loop import Simulation
from augserve.pipeline.simulator.policies import PolicyInputs, build_policy
from augserve.pipeline.simulator.profile import EngineLimits

from .conftest import check_nothing_left, fitting_sessions
from .guessing import GuessingPredictor


def simulate(policy, profile, sessions, settings, until_s=None):
    clock = VirtualClock()
    scheduler = build_policy(policy, PolicyInputs(profile.limits, settings, GuessingPredictor(), sessions, clock))
    result = Simulation(scheduler, profile, clock, sessions).run(until_s)
    return scheduler, result


def test_the_next_turn_hits_the_prefix_cache(profile, settings):
    session = Session("math-1-0", "math", 0.0, (Turn(320, 33, (ToolCall("math", 1.0, 20),)), Turn(20, 16)))
    _, result = simulate("vllm", profile, (session,), settings)
    first, second = result.turns
    assert first.cached_tokens == 0
    # The last token of an output is never computed: 352 are, all in whole blocks of 16.
    assert second.cached_tokens == 352


def test_steps_last_as_long_as_in_the_profile(profile, settings):
    """One request alone, by hand: a prefill step, then a decode step a token, each after the one before."""
    session = Session("math-1-0", "math", 1.0, (Turn(100, 3),))
    _, result = simulate("vllm", profile, (session,), settings)
    (turn,) = result.turns
    prefill = profile.step_s(100, 0, 100)
    assert turn.first_token_s == pytest.approx(1.0 + prefill)
    assert turn.finish_s == pytest.approx(1.0 + prefill + profile.step_s(0, 1, 101) + profile.step_s(0, 1, 102))


def test_a_step_is_scheduled_while_the_previous_one_runs(profile, settings):
    """Asynchronous scheduling: a turn that arrives while two steps are under way waits for both."""
    first = Session("math-1-0", "math", 0.0, (Turn(1000, 50),))
    second = Session("math-1-1", "math", 0.01, (Turn(500, 1),))
    _, result = simulate("vllm", profile, (first, second), settings)
    waited = profile.step_s(1000, 0, 1000) + profile.step_s(0, 1, 1001)
    assert result.turns[1].first_token_s >= waited + profile.step_s(500, 1, 1502)


def test_a_scarce_cache_preempts_and_all_turns_finish(profile, settings):
    scarce = dataclasses.replace(profile, limits=EngineLimits(2048, 2048, 32, 1024))
    sessions = tuple(Session(f"math-1-{i}", "math", 0.0, (Turn(160, 400),), max_tokens=512) for i in range(8))
    for policy in ("vllm", "uncached-first", "mars-oracle", "augserve"):
        scheduler, result = simulate(policy, scarce, sessions, settings)
        assert sum(turn.preemptions for turn in result.turns) > 0
        assert all(turn.output_tokens == 400 for turn in result.turns)
        check_nothing_left(scheduler)


def test_augserve_decides_without_falling_back(profile, sessions, settings, caplog):
    simulate("augserve", profile, sessions, settings)
    assert not [record for record in caplog.records if "left to vLLM" in record.getMessage()]


def test_unfinished_turns_stay_open_at_the_end(profile, sessions, settings):
    _, result = simulate("vllm", profile, sessions, settings, until_s=8.0)
    assert any(turn.finish_s is None for turn in result.turns)
    assert result.end_s >= 8.0


def test_a_session_longer_than_the_models_context_is_refused_before_the_run(profile, settings):
    session = Session("math-1-0", "math", 0.0, (Turn(16_000, 10),))
    with pytest.raises(SimulationError, match="math-1-0"):
        simulate("vllm", profile, (session,), settings)


def test_a_session_that_never_fits_the_cache_is_refused_before_the_run(profile, settings):
    """vLLM takes one block of the cache for itself."""
    limits = EngineLimits(kv_tokens=1024, max_model_len=1024, max_num_seqs=8, max_num_batched_tokens=256)
    engine = dataclasses.replace(profile, limits=limits)
    longest = Session("math-1-0", "math", 0.0, (Turn(1000, 9),), max_tokens=24)
    _, result = simulate("vllm", engine, (longest,), settings)  # its last token is never computed
    assert result.turns[0].output_tokens == 9
    beyond = dataclasses.replace(longest, turns=(Turn(1000, 10),))
    with pytest.raises(SimulationError, match="math-1-0"):
        simulate("vllm", engine, (beyond,), settings)


def test_vllm_never_finishes_a_request_that_does_not_fit(profile, settings, monkeypatch):
    """Why it is refused: vLLM neither rejects nor finishes it, and all behind it wait too."""
    monkeypatch.setattr(loop, "refuse_misfits", lambda sessions, profile: None)
    engine = dataclasses.replace(profile, limits=EngineLimits(1024, 1024, 8, 256))
    beyond = Session("math-1-0", "math", 0.0, (Turn(1000, 10),), max_tokens=24)
    other = Session("math-1-1", "math", 0.5, (Turn(10, 2),))
    _, result = simulate("vllm", engine, (beyond, other), settings, until_s=5.0)
    assert [turn.finish_s for turn in result.turns] == [None, None]
    assert result.turns[0].preemptions == 1


def test_an_output_beyond_its_limit_is_refused(profile, settings):
    session = Session("math-1-0", "math", 0.0, (Turn(10, 20),), max_tokens=10)
    with pytest.raises(SimulationError, match="max_tokens"):
        simulate("vllm", profile, (session,), settings)


def test_a_cache_too_small_for_one_request_is_refused_as_vllm_does(profile, settings, sessions):
    tiny = dataclasses.replace(profile, limits=EngineLimits(1024, 2048, 32, 1024))
    with pytest.raises(SimulationError, match="max_model_len"):
        simulate("vllm", tiny, sessions, settings)


def test_an_unknown_policy_is_named(profile, settings):
    with pytest.raises(SimulationError, match="fifo"):
        simulate("fifo", profile, (), settings)


def test_a_scheduler_that_schedules_nothing_is_reported(profile, settings):
    from vllm.v1.core.sched.async_scheduler import AsyncScheduler

    class Holding(AsyncScheduler):
        def schedule(self, throttle_prefills=False):
            self.max_num_scheduled_tokens = 0
            return super().schedule(throttle_prefills)

    session = Session("math-1-0", "math", 0.0, (Turn(10, 5),))
    simulation = Simulation(build_scheduler(Holding, profile.limits), profile, VirtualClock(), (session,))
    with pytest.raises(SimulationError, match="Holding"):
        simulation.run()


@given(
    seed=st.integers(0, 1000),
    count=st.integers(1, 12),
    rate=st.floats(0.2, 20.0),
    kv_blocks=st.integers(520, 2048),
    budget=st.sampled_from([64, 256, 2048]),
    policy=st.sampled_from(sorted(SIMULATED)),
)
@examples(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_workload_completes_on_any_engine(profile, settings, seed, count, rate, kv_blocks, budget, policy):
    limits = EngineLimits(kv_blocks * 16, 8192, 16, budget)
    engine = dataclasses.replace(profile, limits=limits)
    sessions = fitting_sessions(count, rate, seed)
    scheduler, result = simulate(policy, engine, sessions, settings)
    assert len(result.turns) == sum(len(session.turns) for session in sessions)
    assert all(turn.finish_s is not None for turn in result.turns)
    check_nothing_left(scheduler)
