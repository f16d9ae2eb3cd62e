"""Rivals that admit, pause and order whole programs, on vLLM's real scheduler; each case is computed by hand."""

import dataclasses

import pytest

from augserve.data.workload.model import Session, ToolCall, Turn
from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.simulator.clock import VirtualClock
from augserve.pipeline.simulator.loop import Simulation
from augserve.pipeline.simulator.policies import PolicyInputs, build_policy
from augserve.pipeline.simulator.profile import EngineLimits, StepProfile
from augserve.pipeline.simulator.record.records import TurnRecord

CACHE = EngineLimits(8192, 8192, 32, 1024)
ONE_SEAT = EngineLimits(8192, 8192, 1, 1024)


def turns(
    policy: str,
    profile: StepProfile,
    settings: SchedulerSettings,
    sessions: tuple[Session, ...],
    limits: EngineLimits = CACHE,
) -> dict[tuple[str, int], TurnRecord]:
    """All turns, to their ends, by session and number."""
    clock = VirtualClock()
    engine = dataclasses.replace(profile, limits=limits)
    scheduler = build_policy(policy, PolicyInputs(limits, settings, None, sessions, clock))
    result = Simulation(scheduler, engine, clock, sessions).run()
    assert all(turn.finish_s is not None for turn in result.turns)
    return {(turn.session_id, turn.turn): turn for turn in result.turns}


def session(name: str, start_s: float, *parts: Turn) -> Session:
    return Session(name, "coding", start_s, parts)


def call(seconds: float) -> tuple[ToolCall, ...]:
    return (ToolCall("shell", seconds, 16),)


def test_a_session_beyond_the_limit_waits_until_one_ends(profile: StepProfile, settings: SchedulerSettings) -> None:
    first = session("a", 0.0, Turn(100, 5, call(10.0)), Turn(16, 5))
    seen = turns("session-limit@sessions=1", profile, settings, (first, session("b", 1.0, Turn(100, 5))))
    assert seen["b", 0].first_token_s > seen["a", 1].finish_s
    both = turns("session-limit@sessions=2", profile, settings, (first, session("b", 1.0, Turn(100, 5))))
    assert both["b", 0].first_token_s < 2.0


def test_a_sub_agent_has_the_place_of_its_parent(profile: StepProfile, settings: SchedulerSettings) -> None:
    child = session("a.1", 0.0, Turn(100, 5))
    spawning = Turn(100, 5, (ToolCall("agent", 1.0, 16, agent=child),))
    seen = turns("session-limit@sessions=1", profile, settings, (session("a", 0.0, spawning, Turn(16, 5)),))
    assert {"a", "a.1"} == {name for name, _ in seen}


def test_thunderagent_begins_a_program_that_does_not_fit_at_the_first_check_after_one_has_ended(
    profile: StepProfile, settings: SchedulerSettings
) -> None:
    """Two programs of 3,100 tokens with their buffers and a small one fit into 8,176. Checks are 5 s apart."""
    acting = session("a", 0.0, Turn(3000, 5, call(30.0)), Turn(16, 5))
    short, busy = session("b", 1.0, Turn(3000, 50)), session("d", 0.0, Turn(100, 400))
    seen = turns("thunderagent", profile, settings, (acting, busy, short, session("c", 1.1, Turn(3000, 5))))
    assert 1.1 < seen["b", 0].finish_s < 5.0
    assert 5.0 <= seen["c", 0].first_token_s < 6.0


def test_thunderagent_pauses_the_smallest_acting_program_once_others_have_outgrown_the_cache(
    profile: StepProfile, settings: SchedulerSettings
) -> None:
    """b returns with 5,990 tokens; beside a's 2,005 and two buffers they exceed 8,176 at the check of 10 s."""
    acting = session("a", 0.0, Turn(2000, 5, call(9.6)), Turn(16, 5))
    growing = session("b", 0.0, Turn(2000, 5, call(9.0)), Turn(3985, 60))
    seen = turns("thunderagent", profile, settings, (acting, growing))
    assert seen["a", 1].arrival_s < seen["b", 1].finish_s
    assert seen["a", 1].first_token_s > seen["b", 1].finish_s
    assert turns("vllm", profile, settings, (acting, growing))["a", 1].first_token_s < seen["b", 1].finish_s


def test_thunderagent_leaves_no_engine_idle_beside_a_waiting_turn(
    profile: StepProfile, settings: SchedulerSettings
) -> None:
    acting = session("a", 0.0, Turn(5000, 5, call(60.0)), Turn(16, 5))
    seen = turns("thunderagent", profile, settings, (acting, session("b", 10.0, Turn(5000, 5))))
    assert seen["b", 0].first_token_s < 12.0


@pytest.mark.parametrize(("policy", "first"), [("vllm", "a"), ("plas", "b")])
def test_the_program_with_the_least_attained_service_goes_first(
    policy: str, first: str, profile: StepProfile, settings: SchedulerSettings
) -> None:
    """Session a has computed 1,005 tokens and waits longer than b, which is new; one turn runs at a time."""
    attained = session("a", 0.0, Turn(1000, 5, call(1.0)), Turn(16, 5))
    others = (session("long", 1.0, Turn(100, 100)), session("b", 2.5, Turn(100, 5)))
    seen = turns(policy, profile, settings, (attained, *others), ONE_SEAT)
    assert seen["a", 1].arrival_s < seen["b", 0].arrival_s < seen["long", 0].finish_s
    starts_s = {"a": seen["a", 1].first_token_s, "b": seen["b", 0].first_token_s}
    assert min(starts_s, key=lambda name: starts_s[name] or 0.0) == first


def test_program_fairness_puts_the_program_with_less_recent_service_first(
    profile: StepProfile, settings: SchedulerSettings
) -> None:
    """`heavy` has computed 820 weighted tokens, `light` 60. Of waits of 1.0 and 0.9 s the longer one is worth 0.2."""
    heavy = session("heavy", 0.0, Turn(800, 10, call(5.0)), Turn(16, 4))
    light = session("light", 0.1, Turn(50, 5, call(5.1)), Turn(16, 4))
    busy = session("busy", 4.5, Turn(100, 80))
    seen = turns("program-fairness", profile, settings, (heavy, light, busy), ONE_SEAT)
    assert seen["heavy", 1].arrival_s < seen["light", 1].arrival_s < seen["busy", 0].finish_s
    assert seen["light", 1].first_token_s < seen["heavy", 1].first_token_s


def test_of_programs_with_equal_service_the_longer_wait_goes_first(
    profile: StepProfile, settings: SchedulerSettings
) -> None:
    busy = session("busy", 0.0, Turn(100, 80))
    first, second = (session(name, at_s, Turn(100, 4)) for name, at_s in (("b", 0.1), ("a", 0.2)))
    seen = turns("program-fairness", profile, settings, (busy, first, second), ONE_SEAT)
    assert seen["b", 0].first_token_s < seen["a", 0].first_token_s
