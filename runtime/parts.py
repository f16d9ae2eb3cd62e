"""What decisions are built from: the settings and the models of a bundle."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from ..models.serving.drift import DriftReference
from ..models.serving.onnx_predictor import TOOL_CALLS, TURNS
from ..models.serving.predictor import Predictor
from ..models.serving.settings import SchedulerSettings
from . import vllm_compat
from .clock import SteadyClock
from .deployment import Deployment
from .prediction.drift import monitors
from .prediction.forecaster import Forecaster, PredictorForecaster, Reports
from .steering.step_budget import StepBudget


@dataclass(frozen=True, slots=True)
class Parts:
    settings: SchedulerSettings
    forecaster: Callable[[Reports], Forecaster]
    version: str
    budget: Callable[[vllm_compat.AsyncScheduler], StepBudget] | None = None  # None: the controller of the settings
    overrides: str = ""  # the settings that the operator has changed, as text


def bundle_parts(deployment: Deployment) -> Parts:
    """The parts of the deployment's bundle, verified, tried and warmed up. Raises DeploymentError or BundleError."""
    from ..models.serving.bundle import load_bundle

    version = None if deployment.allow_unknown_vllm else vllm_compat.vllm_version
    bundle = load_bundle(deployment.bundle_folder(), version, deployment.trust, tried=True)
    _warm_up(bundle.predictor)
    settings = bundle.settings.overridden(deployment.settings)
    forecaster = partial(trained_forecaster, bundle.predictor, bundle.drift)
    return Parts(settings, forecaster, bundle.version, overrides=deployment.overrides)


def _warm_up(predictor: Predictor) -> None:
    predictor.turns(np.zeros((1, len(TURNS.features)), np.float32))
    predictor.tool_duration(np.zeros((1, len(TOOL_CALLS.features)), np.float32))


def trained_forecaster(predictor: Predictor, drift: DriftReference | None, reports: Reports) -> Forecaster:
    """A forecaster that reports its corrections, and the drift of its features where `drift` is given."""
    turns = calls = None
    if drift is not None:
        reports.trained_coverage(drift.coverage_80)
        turns, calls = monitors(drift, reports.drift)
    return PredictorForecaster(predictor, turns, calls, reports.corrected, reports.forecast_ratio)


@dataclass(frozen=True, slots=True)
class Setup:
    """The clock and the parts of a scheduler; simulations and tests bring their own."""

    clock: Callable[[], float] = field(default_factory=SteadyClock)
    parts: Callable[[Deployment], Parts] = bundle_parts
    trusts_arrivals: bool = False  # True: the requests bear times of this clock, as in a simulation
