"""Builds the scheduler of a policy of the catalogue for one simulation."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler

from ...data.workload.model import Session
from ...models.serving.predictor import Predictor
from ...models.serving.settings import SchedulerSettings
from ...runtime.decisions import Parts, Setup
from ...runtime.prediction.forecaster import Forecaster, PredictorForecaster
from ...runtime.scheduler import AugServeScheduler
from ...runtime.steering.step_budget import StepBudget
from .catalogue import P_PAS_BUDGET, Policy, StaticLimits, find
from .clock import VirtualClock
from .engine import build_scheduler
from .errors import SimulationError
from .oracle import Oracle
from .profile import EngineLimits
from .rivals.forecasting import ForecastingScheduler
from .rivals.prefill_cap import CappedBudget
from .rivals.ranked import RankedScheduler


@dataclass(frozen=True, slots=True)
class Bench:
    """What a policy is built from."""

    limits: EngineLimits
    settings: SchedulerSettings
    predictor: Predictor | None  # None where no policy of the run predicts
    sessions: Sequence[Session]  # for the oracle alone
    clock: VirtualClock


def build_policy(name: str, bench: Bench) -> AsyncScheduler:
    """The scheduler of a policy of the catalogue. Raises SimulationError for a name or limits that cannot be."""
    policy, static = find(name)
    settings = bench.settings if policy.adjust is None else policy.adjust(bench.settings)
    bench = dataclasses.replace(bench, limits=_limits(name, bench.limits, static), settings=settings)
    scheduler = resolve_name(policy.scheduler)
    if issubclass(scheduler, AugServeScheduler):
        budget = CappedBudget if policy is P_PAS_BUDGET else None
        return deployed_scheduler(bench, _forecaster(policy, bench), budget)
    arguments: dict[str, Any] = {}
    if issubclass(scheduler, RankedScheduler):
        arguments |= {"settings": bench.settings, "clock": bench.clock}
    if issubclass(scheduler, ForecastingScheduler):
        arguments["forecaster"] = _forecaster(policy, bench)
    return build_scheduler(scheduler, bench.limits, **arguments)


def _limits(name: str, configured: EngineLimits, static: StaticLimits) -> EngineLimits:
    budget = static.token_budget or configured.max_num_batched_tokens
    sequences = static.sequences or configured.max_num_seqs
    if sequences > budget:
        raise SimulationError(
            f"policy {name}: vLLM needs a token budget of at least one token a sequence; raise {budget} to {sequences}"
        )
    return dataclasses.replace(configured, max_num_batched_tokens=budget, max_num_seqs=sequences)


def _forecaster(policy: Policy, bench: Bench) -> Forecaster:
    if policy.oracle:
        return Oracle(bench.sessions)
    if not policy.predicts:
        return Forecaster()
    if bench.predictor is None:
        raise SimulationError(f"policy {policy.name}: no predictor was given; run `dvc repro export`")
    return PredictorForecaster(bench.predictor)


def deployed_scheduler(
    bench: Bench, forecaster: Forecaster, budget: Callable[[AsyncScheduler], StepBudget] | None = None
) -> AsyncScheduler:
    """The deployed scheduler with the clock, settings and forecasts of the simulation, and with another rule for the
    budget of each step if one is given."""
    parts = Parts(bench.settings, lambda _: forecaster, "simulated", budget)
    setup = Setup(bench.clock, lambda _: parts)
    scheduler = type("SimulatedAugServe", (AugServeScheduler,), {"setup": setup})
    return build_scheduler(scheduler, bench.limits, {"augserve": {"mode": "active"}})
