"""One cell of an evaluation: a policy on a profile under a load. A cell is picklable and may run in any process."""

import logging
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ....data.workload.adjustments import Adjustments
from ....data.workload.arrivals import Poisson
from ....data.workload.model import Session
from ....data.workload.recorded import RecordedSession
from ....data.workload.schedule import MIXES, mix_load, trace_load
from ....data.workload.trace_set import Split, read_trace_set
from ....models.serving.onnx_predictor import OnnxPredictor
from ....models.serving.predictor import Predictor
from ....models.serving.settings import SchedulerSettings
from ...project import paths
from ..catalogue import find
from ..clock import VirtualClock
from ..engine import context_tokens
from ..errors import SimulationError
from ..loop import Simulation
from ..policies import PolicyInputs, build_policy
from ..profile import StepProfile
from ..record.metrics import Window, run_metrics
from ..record.observer import Observer
from ..record.records import SimulationResult

logger = logging.getLogger(__name__)


def workload_names() -> tuple[str, ...]:
    """The workloads of cells: the built-in mixes, and the folders of traces below data/traces."""
    folders = {path.parent.relative_to(paths.TRACES).as_posix() for path in paths.TRACES.rglob("turns*.parquet")}
    return (*MIXES, *sorted(folders))


@dataclass(frozen=True, slots=True)
class Schedule:
    """Phases of a simulation, seconds. Metrics cover the window; sessions arrive until the end."""

    warmup_s: float
    window_s: float
    drain_s: float  # lets the last turns of the window finish

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
    models: Path | None  # folder of ONNX models; None if the policy needs none
    split: Split | None = None  # the sessions of recorded traces to use; mixes are split by their seeds


def run_cell(cell: Cell) -> dict[str, float]:
    """The metrics of one simulation. Raises SimulationError, ProfileError, PredictorError, or an error of data/ if the
    workload cannot be built."""
    return run_metrics(simulate_cell(cell), cell.schedule.window, cell.settings.slo)


def simulate_cell(cell: Cell, observer: Observer | None = None) -> SimulationResult:
    """The result of one simulation. Raises like `run_cell`."""
    profile = load_profile(cell.profile)
    sessions = cell_sessions(cell, context_tokens(profile.limits))
    clock = VirtualClock()
    policy, _ = find(cell.policy)
    predictor = load_predictor(cell.models) if policy.needs_models and cell.models is not None else None
    scheduler = build_policy(cell.policy, PolicyInputs(profile.limits, cell.settings, predictor, sessions, clock))
    try:
        return Simulation(scheduler, profile, clock, sessions, observer).run(cell.schedule.end_s)
    finally:
        scheduler.shutdown()


def cell_sessions(cell: Cell, longest_tokens: int) -> tuple[Session, ...]:
    """The sessions of a cell in steady state. Recorded sessions arrive as a Poisson process and are cut to
    `longest_tokens`; those of a mix arrive as MIXES states."""
    if cell.workload in MIXES:
        return mix_load(MIXES[cell.workload], cell.rate_per_s, cell.schedule.end_s, cell.seed).sessions
    if cell.workload not in workload_names():
        raise SimulationError(f"workload {cell.workload!r} is unknown; choose from {', '.join(workload_names())}")
    if cell.split is None:
        raise SimulationError(f"workload {cell.workload!r}: a recorded workload needs a split; give one")
    recorded = load_traces(paths.TRACES / cell.workload, cell.split, longest_tokens)
    return trace_load(recorded, Poisson(), cell.rate_per_s, cell.schedule.end_s, cell.seed).sessions


@cache
def load_traces(folder: Path, split: Split, longest_tokens: int) -> tuple[RecordedSession, ...]:
    """Read once a process. Changes to the sessions are logged."""
    adjustments = Adjustments()
    recorded = read_trace_set(folder, split, longest_tokens, adjustments)
    logger.info(
        "%s: %d sessions for %s; %s", folder, len(recorded), split.use, "; ".join(adjustments.lines()) or "whole"
    )
    return recorded


@cache
def load_profile(path: Path) -> StepProfile:
    return StepProfile.load(path)


@cache
def load_predictor(folder: Path) -> Predictor:
    return OnnxPredictor.load(folder)
