"""One run of a policy under a load, on the simulator, and its samples."""

from collections.abc import Sequence

from vllm.v1.core.sched.async_scheduler import AsyncScheduler

from ....data.workload.schedule import Load
from ....models.serving.predictor import Predictor
from ....models.serving.settings import SchedulerSettings
from ..clock import VirtualClock
from ..fleet.routing import ONE_ENGINE, Fleet
from ..loop import Simulation
from ..observers.cache_use import CacheUse
from ..observers.observer import Observer, ObserverGroup
from ..policies import PolicyInputs, build_policy
from ..profile import StepProfile
from ..record.records import SimulationResult
from ..record.samples import Samples, samples_of
from ..record.trees import length_bounds
from .schedule import Schedule


def sampled_run(
    policy: str,
    profile: StepProfile,
    load: Load,
    schedule: Schedule,
    settings: SchedulerSettings,
    predictor: Predictor | None,
    observers: Sequence[Observer] = (),
    fleet: Fleet = ONE_ENGINE,
) -> tuple[SimulationResult, Samples]:
    """Run the policy to the end of the schedule, on each engine of the fleet. Raises SimulationError."""
    clock, window = VirtualClock(), schedule.window
    started: list[AsyncScheduler] = []

    def start(clock: VirtualClock) -> AsyncScheduler:
        inputs = PolicyInputs(profile.limits, settings, predictor, load.sessions, clock)
        started.append(build_policy(policy, inputs))
        return started[-1]

    cache_use = CacheUse(profile, window)
    try:
        group = ObserverGroup([cache_use, *observers])
        simulation = Simulation(
            start(clock), profile, clock, load.sessions, group, agents=load.agents, fleet=fleet, start=start
        )
        result = simulation.run(schedule.end_s)
    finally:
        for scheduler in started:
            scheduler.shutdown()
    bounds, closed = length_bounds(load.sessions), load.agents is not None
    return result, samples_of(result, window, settings.slo, bounds, cache_use.engine_use, closed)
