"""The policies by name: each a scheduler class of vLLM's, built for one simulation."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler

from ...data.workload.model import Session
from ...models.serving.predictor import Predictor
from ...models.serving.settings import SchedulerSettings
from ...runtime.deployment import Deployment
from ...runtime.prediction.forecaster import Forecaster, PredictorForecaster
from ...runtime.scheduler import Artifacts, AugServeScheduler
from .ablations import ABLATIONS, NO_PREDICTORS, P_PAS_BUDGET, NoForecasts, Settings
from .clock import VirtualClock
from .engine import build_scheduler
from .errors import SimulationError
from .oracle import Oracle
from .profile import EngineLimits
from .rivals.continuum import Continuum, ForecastContinuum
from .rivals.forecasting import ForecastingScheduler
from .rivals.infercept import FirmInferCept, InferCept
from .rivals.mars import FirmMars, Mars
from .rivals.prefill_cap import PrefillCap, capped_budget
from .rivals.ranked import RankedScheduler
from .rivals.shortest import ShortestJobFirst, ShortestPromptFirst
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


def _p_pas(bench: Bench) -> AsyncScheduler:
    return build_scheduler(PrefillCap, bench.limits)


def _ranked(scheduler: type[RankedScheduler]) -> "Policy":
    return lambda bench: build_scheduler(scheduler, bench.limits, settings=bench.settings, clock=bench.clock)


def _forecasting(scheduler: type[ForecastingScheduler]) -> "Policy":
    return lambda bench: _forecasting_scheduler(scheduler, bench, _forecaster(bench))


def _knowing(scheduler: type[ForecastingScheduler]) -> "Policy":
    return lambda bench: _forecasting_scheduler(scheduler, bench, Oracle(bench.sessions))


def _forecasting_scheduler(
    scheduler: type[ForecastingScheduler], bench: Bench, forecaster: Forecaster
) -> AsyncScheduler:
    return build_scheduler(scheduler, bench.limits, settings=bench.settings, clock=bench.clock, forecaster=forecaster)


def _augserve(bench: Bench) -> AsyncScheduler:
    return deployed_scheduler(bench, _forecaster(bench))


def _augserve_oracle(bench: Bench) -> AsyncScheduler:
    return deployed_scheduler(bench, Oracle(bench.sessions))


def _augserve_unpredicted(bench: Bench) -> AsyncScheduler:
    return deployed_scheduler(bench, NoForecasts())


def _augserve_p_pas(bench: Bench) -> AsyncScheduler:
    full_tokens = bench.limits.max_num_batched_tokens
    return deployed_scheduler(bench, _forecaster(bench), lambda scheduler: capped_budget(scheduler, full_tokens))


def _augserve_ablated(settings: Settings) -> "Policy":
    return lambda bench: _augserve(dataclasses.replace(bench, settings=settings(bench.settings)))


Policy = Callable[[Bench], AsyncScheduler]

POLICIES: dict[str, Policy] = {
    "vllm": _vllm,
    "sjf-prompt": _ranked(ShortestPromptFirst),
    "sjf": _forecasting(ShortestJobFirst),
    "sjf-oracle": _knowing(ShortestJobFirst),
    "uncached-first": _ranked(UncachedFirst),
    "p-pas": _p_pas,
    "infercept": _forecasting(InferCept),
    "infercept-oracle": _knowing(InferCept),
    "infercept-firm": _forecasting(FirmInferCept),
    "infercept-firm-oracle": _knowing(FirmInferCept),
    "mars": _forecasting(Mars),
    "mars-oracle": _knowing(Mars),
    "mars-firm": _forecasting(FirmMars),
    "mars-firm-oracle": _knowing(FirmMars),
    "continuum": _ranked(Continuum),
    "continuum-forecast": _forecasting(ForecastContinuum),
    "continuum-forecast-oracle": _knowing(ForecastContinuum),
    "augserve": _augserve,
    "augserve-oracle": _augserve_oracle,
    NO_PREDICTORS: _augserve_unpredicted,
    P_PAS_BUDGET: _augserve_p_pas,
    **{name: _augserve_ablated(settings) for name, settings in ABLATIONS.items()},
}
PREDICTING = frozenset(
    {
        *ABLATIONS,
        P_PAS_BUDGET,
        "sjf",
        "infercept",
        "infercept-firm",
        "mars",
        "mars-firm",
        "continuum-forecast",
        "augserve",
    }
)
ORACLES = tuple(name for name in POLICIES if name.endswith("-oracle"))

TUNED_NAME = re.compile(r"vllm@(?P<budget>[1-9]\d*)x(?P<sequences>[1-9]\d*)")
"""Stock vLLM with a static budget of tokens and a limit on running sequences: vllm@2048x256."""
STATIC_OURS = re.compile(r"augserve@(?P<budget>[1-9]\d*)")
"""AugServe with the same budget of tokens in every step: augserve@2048."""
STATIC_BUDGETS = (512, 1024, 2048, 4096, 8192, 16_384)
STATIC_SEQUENCES = (64, 128, 256, 512, 1024)


def tuned_grid() -> tuple[str, ...]:
    """Names of the policies among which `vllm-tuned`, the best static configuration of stock vLLM, is searched."""
    return tuple(
        f"vllm@{budget}x{sequences}"
        for budget in STATIC_BUDGETS
        for sequences in STATIC_SEQUENCES
        if sequences <= budget  # vLLM refuses less than a token a sequence
    )


def entry_of(name: str) -> str:
    """The entry of POLICIES that a policy is built by: another name where its own states limits of the engine."""
    if TUNED_NAME.fullmatch(name):
        return "vllm"
    return "augserve-static-budget" if STATIC_OURS.fullmatch(name) else name


def predicts(name: str) -> bool:
    return entry_of(name) in PREDICTING


def build_policy(name: str, bench: Bench) -> AsyncScheduler:
    """The policy of a name in POLICIES or of the form of TUNED_NAME or STATIC_OURS. Raises SimulationError for a name
    that is not known."""
    if entry_of(name) not in POLICIES:
        raise SimulationError(f"policy {name!r} is unknown; known are {', '.join(POLICIES)}")
    return POLICIES[entry_of(name)](dataclasses.replace(bench, limits=_limits(name, bench.limits)))


def _limits(name: str, configured: EngineLimits) -> EngineLimits:
    """Those that a name states."""
    stated = TUNED_NAME.fullmatch(name) or STATIC_OURS.fullmatch(name)
    if stated is None:
        return configured
    budget, sequences = int(stated["budget"]), int(stated.groupdict().get("sequences", configured.max_num_seqs))
    if sequences > budget:
        raise SimulationError(
            f"policy {name}: vLLM takes at least a token a sequence, and {sequences} may run; raise the budget"
        )
    return dataclasses.replace(configured, max_num_batched_tokens=budget, max_num_seqs=sequences)


def _forecaster(bench: Bench) -> Forecaster:
    if bench.predictor is None:
        raise SimulationError("policy: it predicts, and no predictor was given; run `dvc repro export`")
    return PredictorForecaster(bench.predictor)


def deployed_scheduler(
    bench: Bench, forecaster: Forecaster, budget: Callable[[AsyncScheduler], int] | None = None
) -> AsyncScheduler:
    """The deployed scheduler itself; only its clock, its bundle and its predictions come from the simulation, and
    where it is given, the rule for a step's `budget`."""

    class SimulatedAugServe(AugServeScheduler):
        def load_artifacts(self, deployment: Deployment) -> Artifacts:  # noqa: ARG002 - there is no bundle yet
            return Artifacts(bench.settings, _NoPredictor(), "simulated")

        def make_forecaster(self, artifacts: Artifacts) -> Forecaster:  # noqa: ARG002
            return forecaster

        def make_clock(self) -> Callable[[], float]:
            return bench.clock

        def _steer(self, now_s: float) -> bool:
            if budget is None:
                return super()._steer(now_s)
            self.max_num_scheduled_tokens = budget(self)
            return True

    return build_scheduler(SimulatedAugServe, bench.limits, {"augserve": {"mode": "active"}})


class _NoPredictor:
    """Stands where the bundle's predictor would; the forecaster above answers in its place."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"a simulation predicts by its forecaster, not by {name}")
