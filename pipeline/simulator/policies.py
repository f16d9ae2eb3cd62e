"""The policies by name: each a scheduler class of vLLM's, built for one simulation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler

from ...data.workload import Session
from ...models.predictor import Predictor
from ...models.settings import SchedulerSettings
from ...runtime.deployment import Deployment
from ...runtime.prediction import Forecaster, PredictorForecaster
from ...runtime.scheduler import Artifacts, AugServeScheduler
from .clock import VirtualClock
from .engine import build_scheduler
from .errors import SimulationError
from .oracle import Oracle
from .profile import EngineLimits
from .rivals.shortest import ShortestJobFirst
from .rivals.uncached import UncachedFirst


@dataclass(frozen=True, slots=True)
class Bench:
    """What a policy is built from."""

    limits: EngineLimits
    settings: SchedulerSettings
    predictor: Predictor | None  # None where no policy of the run predicts
    sessions: Sequence[Session]  # for the oracle alone
    clock: VirtualClock


def _vllm(bench: Bench) -> AsyncScheduler:
    return build_scheduler(AsyncScheduler, bench.limits)


def _sjf(bench: Bench) -> AsyncScheduler:
    return build_scheduler(
        ShortestJobFirst, bench.limits, settings=bench.settings, clock=bench.clock, forecaster=_forecaster(bench)
    )


def _uncached_first(bench: Bench) -> AsyncScheduler:
    return build_scheduler(UncachedFirst, bench.limits, settings=bench.settings, clock=bench.clock)


def _augserve(bench: Bench) -> AsyncScheduler:
    return deployed_scheduler(bench, _forecaster(bench))


def _augserve_oracle(bench: Bench) -> AsyncScheduler:
    return deployed_scheduler(bench, Oracle(bench.sessions))


POLICIES: dict[str, Callable[[Bench], AsyncScheduler]] = {
    "vllm": _vllm,
    "sjf": _sjf,
    "uncached-first": _uncached_first,
    "augserve": _augserve,
    "augserve-oracle": _augserve_oracle,
}
PREDICTING = frozenset({"sjf", "augserve"})


def build_policy(name: str, bench: Bench) -> AsyncScheduler:
    """Raises SimulationError for a name that is not known."""
    if name not in POLICIES:
        raise SimulationError(f"policy {name!r} is unknown; known are {', '.join(POLICIES)}")
    return POLICIES[name](bench)


def _forecaster(bench: Bench) -> Forecaster:
    if bench.predictor is None:
        raise SimulationError("policy: it predicts, and no predictor was given; run `dvc repro export`")
    return PredictorForecaster(bench.predictor)


def deployed_scheduler(bench: Bench, forecaster: Forecaster) -> AsyncScheduler:
    """The deployed scheduler itself; only its clock, its bundle and its predictions come from the simulation."""

    class SimulatedAugServe(AugServeScheduler):
        def load_artifacts(self, deployment: Deployment) -> Artifacts:  # noqa: ARG002 - there is no bundle yet
            return Artifacts(bench.settings, _NoPredictor(), "simulated")

        def make_forecaster(self, artifacts: Artifacts) -> Forecaster:  # noqa: ARG002
            return forecaster

        def make_clock(self) -> Callable[[], float]:
            return bench.clock

    return build_scheduler(SimulatedAugServe, bench.limits, {"augserve": {"mode": "active"}})


class _NoPredictor:
    """Stands where the bundle's predictor would; the forecaster above answers in its place."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"a simulation predicts by its forecaster, not by {name}")
