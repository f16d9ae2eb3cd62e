"""One cell of an evaluation: a policy on a profile under a load, from names to metrics. Picklable, so that it may run
in another process."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ...data.mix import MIX, steady_sessions
from ...data.workload import Session
from ...models.onnx_predictor import OnnxPredictor
from ...models.predictor import Predictor
from ...models.settings import SchedulerSettings
from .clock import VirtualClock
from .errors import SimulationError
from .loop import Simulation
from .metrics import Window, run_metrics
from .policies import PREDICTING, Bench, build_policy
from .profile import StepProfile

WORKLOADS: dict[str, Callable[[float, float, int], tuple[Session, ...]]] = {MIX: steady_sessions}


@dataclass(frozen=True, slots=True)
class Schedule:
    """Parts of a simulation, seconds: metrics are taken over the window, arrivals go on to the end."""

    warmup_s: float
    window_s: float
    drain_s: float  # for the window's last turns to finish

    @property
    def window(self) -> Window:
        return Window(self.warmup_s, self.warmup_s + self.window_s)

    @property
    def end_s(self) -> float:
        return self.warmup_s + self.window_s + self.drain_s


@dataclass(frozen=True, slots=True)
class Cell:
    workload: str
    policy: str
    profile: Path
    rate_per_s: float  # sessions
    seed: int
    schedule: Schedule
    settings: SchedulerSettings
    models: Path | None  # folder of ONNX models; None where the policy does not predict


def run_cell(cell: Cell) -> dict[str, float]:
    """The metrics of one simulation. Raises SimulationError, WorkloadError, ProfileError or PredictorError."""
    if cell.workload not in WORKLOADS:
        raise SimulationError(f"workload {cell.workload!r} is unknown; known are {', '.join(WORKLOADS)}")
    sessions = WORKLOADS[cell.workload](cell.schedule.end_s, cell.rate_per_s, cell.seed)
    profile = load_profile(cell.profile)
    clock = VirtualClock()
    predictor = load_predictor(cell.models) if cell.policy in PREDICTING and cell.models is not None else None
    scheduler = build_policy(cell.policy, Bench(profile.limits, cell.settings, predictor, sessions, clock))
    try:
        result = Simulation(scheduler, profile, clock, sessions).run(cell.schedule.end_s)
    finally:
        scheduler.shutdown()
    return run_metrics(result, cell.schedule.window, cell.settings.slo)


@cache
def load_profile(path: Path) -> StepProfile:
    return StepProfile.load(path)


@cache
def load_predictor(folder: Path) -> Predictor:
    return OnnxPredictor.load(folder)
