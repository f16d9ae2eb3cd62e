"""One run of a policy under a load, on the simulator, and its samples."""

from collections.abc import Sequence

from ....data.workload.schedule import Load
from ....models.serving.predictor import Predictor
from ....models.serving.settings import SchedulerSettings
from ..clock import VirtualClock
from ..loop import Simulation
from ..policies import PolicyInputs, build_policy
from ..profile import StepProfile
from ..record.cache_use import CacheUse
from ..record.observer import Observer, ObserverGroup
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
) -> tuple[SimulationResult, Samples]:
    """Run the policy to the end of the schedule. Raises SimulationError."""
    clock, window = VirtualClock(), schedule.window
    scheduler = build_policy(policy, PolicyInputs(profile.limits, settings, predictor, load.sessions, clock))
    cache_use = CacheUse(profile, window)
    try:
        group = ObserverGroup([cache_use, *observers])
        result = Simulation(scheduler, profile, clock, load.sessions, group, agents=load.agents).run(schedule.end_s)
    finally:
        scheduler.shutdown()
    bounds, closed = length_bounds(load.sessions), load.agents is not None
    return result, samples_of(result, window, settings.slo, bounds, cache_use.engine_use, closed)
