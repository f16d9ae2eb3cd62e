"""Which token budget the steps get where another rule stands in the place of AugServe's controller."""

import dataclasses

import pytest
from vllm.v1.core.sched.async_scheduler import AsyncScheduler

from augserve.data.workload.model import Session, Turn
from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.simulator.clock import VirtualClock
from augserve.pipeline.simulator.forward import Step
from augserve.pipeline.simulator.loop import Simulation
from augserve.pipeline.simulator.observers.observer import Observer
from augserve.pipeline.simulator.policies import PolicyInputs, build_policy
from augserve.pipeline.simulator.profile import EngineLimits, StepProfile

from ..guessing import GuessingPredictor

FULL = 3000
DECODING = Session("qa-1-a", "qa", 0.0, (Turn(64, 200),))
PROMPTS = tuple(Session(f"qa-1-{name}", "qa", 1.0, (Turn(2800, 2),)) for name in "bcd")


class Budgets(Observer):
    """Records the budget of each step."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def step_begun(self, step: Step, scheduler: AsyncScheduler, now_s: float, ends_s: float) -> None:
        self.seen.append(scheduler.max_num_scheduled_tokens)


def budgets(policy: str, profile: StepProfile, settings: SchedulerSettings, *sessions: Session) -> set[int]:
    """Of all steps of a run to its end, on an engine whose full steps take three times the SLO's TPOT."""
    clock, watched = VirtualClock(), Budgets()
    limits = EngineLimits(kv_tokens=16_384, max_model_len=16_384, max_num_seqs=32, max_num_batched_tokens=FULL)
    scheduler = build_policy(policy, PolicyInputs(limits, settings, GuessingPredictor(), sessions, clock))
    engine = dataclasses.replace(profile, limits=limits)
    result = Simulation(scheduler, engine, clock, sessions, watched).run()
    scheduler.shutdown()
    assert all(turn.finish_s is not None for turn in result.turns)
    return set(watched.seen)


@pytest.mark.parametrize(
    ("policy", "budget"), [("augserve-static-budget@1024", 1024), ("augserve-static-budget", FULL)]
)
def test_a_static_budget_applies_to_every_step(
    policy: str, budget: int, profile: StepProfile, settings: SchedulerSettings
) -> None:
    assert budgets(policy, profile, settings, DECODING, *PROMPTS) == {budget}
    assert len(budgets("augserve", profile, settings, DECODING, *PROMPTS)) > 2  # steered


def test_augserve_with_p_pas_caps_steps_with_several_prefills_and_decodes(
    profile: StepProfile, settings: SchedulerSettings
) -> None:
    assert budgets("augserve-p-pas", profile, settings, DECODING, *PROMPTS) == {2048, FULL}
    assert budgets("augserve-p-pas", profile, settings, DECODING, PROMPTS[0]) == {FULL}  # a single one
    assert budgets("augserve-p-pas", profile, settings, *PROMPTS[:1]) == {FULL}
