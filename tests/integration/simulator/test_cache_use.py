"""The best possible hits and the time of recomputation, on vLLM's scheduler and prefix cache."""

import dataclasses
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples

from augserve.data.workload.model import Session, SharedPrefix, ToolCall, Turn
from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.simulator.clock import VirtualClock
from augserve.pipeline.simulator.loop import Simulation
from augserve.pipeline.simulator.observers.cache_use import CacheUse
from augserve.pipeline.simulator.policies import PolicyInputs, build_policy
from augserve.pipeline.simulator.profile import EngineLimits, StepProfile
from augserve.pipeline.simulator.record.records import EngineUse, SimulationResult
from augserve.pipeline.simulator.record.window import Window

from ...unit.pipeline.simulator.trees import forests

WINDOW = Window(0.0, 1e6)


def observed(
    profile: StepProfile, sessions: Sequence[Session], window: Window = WINDOW, policy: str = "vllm"
) -> tuple[SimulationResult, EngineUse]:
    clock, use = VirtualClock(), CacheUse(profile, window)
    inputs = PolicyInputs(profile.limits, SchedulerSettings(step_time=profile.linear), None, sessions, clock)
    result = Simulation(build_policy(policy, inputs), profile, clock, sessions, use).run()
    return result, use.engine_use


def scarce(profile: StepProfile, kv_tokens: int, budget: int = 1024) -> StepProfile:
    return dataclasses.replace(profile, limits=EngineLimits(kv_tokens, kv_tokens, 32, budget))


@examples(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(forests())
def test_a_cache_with_room_for_everything_has_the_best_possible_hits(
    profile: StepProfile, sessions: list[Session]
) -> None:
    result, use = observed(profile, sessions)
    assert [turn.cached_tokens for turn in result.turns] == [turn.best_cached_tokens for turn in result.turns]
    assert not use.recomputed_s
    assert use.busy_s == pytest.approx(result.totals.busy_s)


@examples(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(forests())
def test_a_scarce_cache_hits_no_more_than_the_best_one(profile: StepProfile, sessions: list[Session]) -> None:
    result, use = observed(scarce(profile, 2048, 256), sessions)
    for turn in result.turns:
        assert turn.best_cached_tokens is not None
        assert turn.cached_tokens <= turn.best_cached_tokens < turn.prompt_tokens
    assert sum(use.recomputed_s.values()) < use.busy_s


def test_an_evicted_context_is_computed_again(profile: StepProfile) -> None:
    """Two contexts of 640 tokens in a cache of 1,008: the second evicts a part of the first, which returns alone."""
    engine = scarce(profile, 1024)
    first = Session("a", "made", 0.0, (Turn(640, 1, (ToolCall("wait", 10.0, 160),)), Turn(159, 1)), max_tokens=64)
    second = Session("b", "made", 5.0, (Turn(640, 1),), max_tokens=64)
    result, use = observed(engine, (first, second))
    again = result.turns[-1]
    lost, computed = 640 - again.cached_tokens, 800 - again.cached_tokens
    assert again.best_cached_tokens == 640
    assert lost > 200
    assert use.recomputed_s == {"a": pytest.approx(engine.step_s(computed, 0, 800) * lost / computed)}
    assert observed(engine, (first, second), Window(0.0, 9.0))[1].recomputed_s == {}  # it returns at 10 s


def test_only_the_time_that_the_prompt_adds_to_a_step_counts(profile: StepProfile) -> None:
    """A session that decodes all the time shares the steps in which the context is computed again."""
    engine = scarce(profile, 1024)
    steady = Session("steady", "made", 0.0, (Turn(20, 150),), max_tokens=200)
    lost = Session("a", "made", 0.0, (Turn(640, 1, (ToolCall("wait", 3.0, 160),)), Turn(159, 1)), max_tokens=64)
    evicting = Session("b", "made", 1.5, (Turn(640, 1),), max_tokens=64)
    result, use = observed(engine, (steady, lost, evicting))
    again = next(turn for turn in result.turns if turn.turn == 1)
    assert again.cached_tokens < again.best_cached_tokens == 640  # type: ignore[operator]
    computed = again.prompt_tokens - again.cached_tokens
    added_s = engine.step_s(computed, 1, 0) - engine.step_s(0, 1, 0)
    assert use.recomputed_s["a"] == pytest.approx(added_s * (640 - again.cached_tokens) / computed, rel=0.01)


def test_a_preempted_turn_is_computed_again_with_its_output(profile: StepProfile) -> None:
    sessions = tuple(Session(f"s{i}", "made", 0.0, (Turn(160, 400),), max_tokens=512) for i in range(8))
    engine = scarce(profile, 2048)
    result, use = observed(engine, sessions)
    preempted = {turn.session_id for turn in result.turns if turn.preemptions}
    assert preempted
    assert set(use.recomputed_s) <= preempted
    prompts_s = sum(turn.preemptions for turn in result.turns) * (engine.step_s(161, 0, 0) - engine.step_s(1, 0, 0))
    assert sum(use.recomputed_s.values()) > 1.3 * prompts_s


def test_a_shared_prefix_counts_as_computed_for_the_next_session(profile: StepProfile) -> None:
    prefix = (SharedPrefix("system", 320),)
    sessions = [Session(f"s{i}", "made", 5.0 * i, (Turn(400, 4),), shared=prefix) for i in range(2)]
    result, _ = observed(profile, sessions)
    assert [turn.best_cached_tokens for turn in result.turns] == [0, 320]


def test_the_block_of_the_last_prompt_token_never_counts(profile: StepProfile) -> None:
    """vLLM computes it again even where it is cached."""
    prefix = (SharedPrefix("system", 320),)
    sessions = [Session(f"s{i}", "made", 5.0 * i, (Turn(320, 4),), shared=prefix) for i in range(2)]
    result, use = observed(profile, sessions)
    assert (
        [turn.best_cached_tokens for turn in result.turns] == [turn.cached_tokens for turn in result.turns] == [0, 304]
    )
    assert not use.recomputed_s


@examples(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(forests())
def test_the_unbounded_policy_has_the_best_possible_hits_on_a_scarce_engine(
    profile: StepProfile, sessions: list[Session]
) -> None:
    result, use = observed(scarce(profile, 2048, 256), sessions, policy="vllm-unbounded")
    assert [turn.cached_tokens for turn in result.turns] == [turn.best_cached_tokens for turn in result.turns]
    assert not use.recomputed_s


def test_the_unbounded_policy_keeps_what_stock_evicts(profile: StepProfile) -> None:
    engine = scarce(profile, 1024)
    first = Session("a", "made", 0.0, (Turn(640, 1, (ToolCall("wait", 10.0, 160),)), Turn(159, 1)), max_tokens=64)
    second = Session("b", "made", 5.0, (Turn(640, 1),), max_tokens=64)
    assert observed(engine, (first, second), policy="vllm-unbounded")[0].turns[-1].cached_tokens == 640
    assert observed(engine, (first, second))[0].turns[-1].cached_tokens < 440
