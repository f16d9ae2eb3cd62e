"""Bulks of decode steps against single steps: the same turns at the same times, for every policy."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from vllm.v1.core.sched.async_scheduler import AsyncScheduler

from augserve.data.workload.model import Session, ToolCall, Turn
from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.simulator.clock import VirtualClock
from augserve.pipeline.simulator.fleet.replica import ASYNCHRONOUS, SYNCHRONOUS
from augserve.pipeline.simulator.forward import Step
from augserve.pipeline.simulator.loop import Simulation
from augserve.pipeline.simulator.observers.observer import Observer
from augserve.pipeline.simulator.policies import PolicyInputs, build_policy
from augserve.pipeline.simulator.profile import EngineLimits, StepProfile
from augserve.pipeline.simulator.record.records import SimulationResult

from ..guessing import GuessingPredictor
from .test_every_policy import NAMES, PROFILE, SETTINGS, sessions_of

ROOMY = dataclasses.replace(PROFILE, limits=EngineLimits(4096, 1280, 8, 256))


class Seen(Observer):
    """Counts the steps that were part of a bulk; may ask for every step."""

    def __init__(self, every_step: bool) -> None:
        self.every_step = every_step
        self.in_bulk = 0

    def asks_for_each_step(self) -> bool:
        return self.every_step

    def step_begun(self, step: Step, scheduler: AsyncScheduler, now_s: float, ends_s: float) -> None:
        if step.steps > 1:
            self.in_bulk += step.steps


def run(
    policy: str,
    every_step: bool,
    sessions: Sequence[Session],
    profile: StepProfile = ROOMY,
    settings: SchedulerSettings = SETTINGS,
    batches: int = ASYNCHRONOUS,
    until_s: float | None = None,
    agents: int | None = None,
) -> tuple[SimulationResult, int]:
    """The result, and how many steps were part of a bulk."""
    clock, seen = VirtualClock(), Seen(every_step)
    scheduler = build_policy(policy, PolicyInputs(profile.limits, settings, GuessingPredictor(), sessions, clock))
    result = Simulation(scheduler, profile, clock, sessions, seen, batches, agents=agents).run(until_s)
    scheduler.shutdown()
    return result, seen.in_bulk


def check_same(bulk: SimulationResult, single: SimulationResult) -> None:
    """The same records to the bit: a bulk adds the same durations in the same order. Where a policy preempts, it may
    look at the tokens that a turn has generated, which bulks deliver later: then all turns are served in full."""
    if any(turn.preemptions for turn in (*single.turns, *bulk.turns)):
        facts = [
            sorted(
                (turn.session_id, turn.turn, turn.prompt_tokens) for turn in result.turns if turn.finish_s is not None
            )
            for result in (bulk, single)
        ]
        assert abs(len(facts[0]) - len(facts[1])) <= 2  # at the end of a run that is cut
        return
    assert bulk.turns == single.turns
    assert bulk.end_s == single.end_s
    assert dataclasses.asdict(bulk.totals) == pytest.approx(dataclasses.asdict(single.totals))


@pytest.mark.parametrize("policy", NAMES)
def test_bulks_change_no_turn(policy: str) -> None:
    """Half of the sessions at once, half of them alone, so that some steps have nobody waiting."""
    for sessions in (sessions_of(12, 4.0, seed=3), sessions_of(8, 0.2, seed=4)):
        (bulk, in_bulk), (single, none) = run(policy, False, sessions), run(policy, True, sessions)
        check_same(bulk, single)
        assert none == 0
    assert in_bulk > bulk.totals.steps / 4


any_engine = st.builds(
    lambda blocks, seats, budget: dataclasses.replace(PROFILE, limits=EngineLimits(blocks * 16, 1280, seats, budget)),
    blocks=st.integers(81, 600),
    seats=st.sampled_from([2, 4, 16]),
    budget=st.sampled_from([16, 64, 256, 1024]),
)


@given(
    any_engine,
    st.builds(sessions_of, st.integers(1, 12), st.floats(0.05, 10.0), st.integers(0, 10_000)),
    st.sampled_from(NAMES),
    st.sampled_from([ASYNCHRONOUS, SYNCHRONOUS]),
    st.one_of(st.none(), st.floats(1.0, 30.0)),
    st.one_of(st.none(), st.integers(1, 12)),
)
@examples(max_examples=60, deadline=None)
def test_bulks_change_no_turn_of_any_workload_on_any_engine(
    profile: StepProfile,
    sessions: tuple[Session, ...],
    policy: str,
    batches: int,
    until_s: float | None,
    agents: int | None,
) -> None:
    agents = None if agents is None else min(agents, len(sessions))
    bulk, single = (
        run(policy, every, sessions, profile, SETTINGS, batches, until_s, agents)[0] for every in (False, True)
    )
    check_same(bulk, single)


def pausing_sessions(count: int, seed: int) -> tuple[Session, ...]:
    """Long pauses between few turns at once: what is pinned decides what is evicted."""
    random = np.random.default_rng(seed)

    def turn(last: bool) -> Turn:
        calls = () if last else (ToolCall("qa", float(random.exponential(3.0)), 1),)
        return Turn(int(random.integers(50, 250)), int(random.integers(16, 96)), calls)

    return tuple(Session(f"s-{n}", "qa", n * 1.5, tuple(turn(at == 3) for at in range(4)), 1, 96) for n in range(count))


@given(
    st.builds(pausing_sessions, st.integers(6, 16), st.integers(0, 10_000)),
    st.integers(81, 240),
    st.sampled_from(["augserve", "infercept", "continuum", "sjf-prompt"]),
)
@example(pausing_sessions(16, 158), 81, "augserve")  # a promise to a turn ends while its prompt is computed
@example(pausing_sessions(16, 633), 113, "augserve")  # the first candidate's context has been evicted
@examples(max_examples=20, deadline=None)
def test_bulks_change_no_turn_where_pins_and_refusals_decide(
    sessions: tuple[Session, ...], blocks: int, policy: str
) -> None:
    profile = dataclasses.replace(PROFILE, limits=EngineLimits(blocks * 16, 1280, 8, 48))
    check_same(*(run(policy, every, sessions, profile)[0] for every in (False, True)))


@pytest.mark.parametrize("max_tokens", [200, 1024])
def test_a_turn_that_ends_at_its_limit_ends_in_time(max_tokens: int) -> None:
    """vLLM schedules no step after the one that reaches max_tokens."""
    sessions = (
        Session("one", "math", 0.0, (Turn(100, 200),), 1, max_tokens),
        Session("two", "math", 0.3, (Turn(9, 90),)),
    )
    (bulk, in_bulk), (single, _) = (run("vllm", every, sessions) for every in (False, True))
    check_same(bulk, single)
    assert in_bulk > 150


@pytest.mark.parametrize("limit", ["prefill", "adaptive"])
def test_a_bulk_keeps_to_the_limit_on_long_prefills(limit: str) -> None:
    sessions = tuple(Session(name, "math", 0.0, (Turn(100, 200),), 1, 200) for name in ("one", "two"))
    (bulk, in_bulk), (single, _) = (run(f"vllm@{limit}=20", every, sessions) for every in (False, True))
    check_same(bulk, single)
    assert in_bulk > 100


def test_requests_that_cannot_be_admitted_do_not_end_a_bulk() -> None:
    """Two turns that fill the KV cache decode in bulks while a third one waits for their blocks."""
    limits = EngineLimits(1600, 1280, 8, 64)
    sessions = tuple(Session(name, "math", 0.0, (Turn(500, 200),), 1, 200) for name in ("one", "two", "three"))
    profile = dataclasses.replace(PROFILE, limits=limits)
    (bulk, in_bulk), (single, _) = (run("vllm", every, sessions, profile) for every in (False, True))
    check_same(bulk, single)
    assert in_bulk > 300
