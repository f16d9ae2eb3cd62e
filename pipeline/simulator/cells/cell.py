"""One cell of an evaluation: a policy on a profile under a load. A cell is picklable and may run in any process."""

import dataclasses
import logging
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from ....data.tables.files import table_files
from ....data.workload.adjustments import Adjustments
from ....data.workload.arrivals import Poisson
from ....data.workload.built_in import SEQUENCES, built_in_load
from ....data.workload.closed_loop import recorded_closed_load
from ....data.workload.recorded.sessions import RecordedSession
from ....data.workload.schedule import MIXES, Load, mix_load, trace_load
from ....data.workload.trace_set import Split, read_trace_set
from ....models.serving.onnx_predictor import OnnxPredictor
from ....models.serving.predictor import Predictor
from ....models.serving.settings import SchedulerSettings
from ...project import paths
from ..catalogue import find
from ..engine import context_tokens
from ..errors import SimulationError
from ..fleet.routing import ONE_ENGINE, Fleet
from ..observers.observer import Observer
from ..profile import StepProfile
from ..record.metrics import metrics_of
from ..record.samples import Samples
from .sampled import sampled_run
from .schedule import Schedule

logger = logging.getLogger(__name__)

CLOSED_LOOP_BLOCK_TOKENS = 64
"""Tokens of a KV block in closed loops on large caches, as after `vllm serve --block-size 64`. Contexts of agents have
thousands of vLLM's default blocks of 16, which take most of a simulation (docs/lab/2026-11-25-fidelity.md)."""


def workload_names() -> tuple[str, ...]:
    """The workloads of cells in an open loop: the built-in mixes, and the folders of traces below data/traces."""
    folders = {path.parent.relative_to(paths.TRACES).as_posix() for path in paths.TRACES.rglob("turns*.parquet")}
    return (*MIXES, *sorted(folders))


@dataclass(frozen=True, slots=True)
class Cell:
    """Open loop at `rate_per_s`, or closed loop of `agents`: one of them is given."""

    workload: str  # built in, or a folder of traces: below data/traces, or absolute
    policy: str
    profile: Path
    rate_per_s: float | None  # sessions
    seed: int
    schedule: Schedule
    settings: SchedulerSettings
    models: Path | None  # folder of ONNX models; None if the policy needs none
    split: Split | None = None  # the sessions of recorded traces to use; None: all. Built-in ones are split by seeds
    agents: int | None = None
    pause_cap_s: float | None = None  # closed loop: no tool takes longer
    kv_offload_gib: float | None = None  # host memory for vLLM's KV offloading
    fleet: Fleet = ONE_ENGINE  # the engines that share the load


def run_cell(cell: Cell) -> dict[str, float]:
    """The metrics of one simulation. Raises SimulationError, ProfileError, PredictorError, or an error of data/ if the
    workload cannot be built."""
    return metrics_of([sample_cell(cell)])


def sample_cell(cell: Cell, *observers: Observer) -> Samples:
    """The samples of one simulation. Raises like `run_cell`."""
    profile = cell_profile(cell)
    load = cell_load(cell, context_tokens(profile.limits))
    policy, _ = find(cell.policy)
    predictor = load_predictor(cell.models) if policy.needs_models and cell.models is not None else None
    return sampled_run(cell.policy, profile, load, cell.schedule, cell.settings, predictor, observers, cell.fleet)[1]


def cell_profile(cell: Cell) -> StepProfile:
    profile = load_profile(cell.profile)
    if cell.agents is not None:
        profile = profile.with_blocks(CLOSED_LOOP_BLOCK_TOKENS)
    return profile if cell.kv_offload_gib is None else profile.with_host_memory(cell.kv_offload_gib)


def cell_load(cell: Cell, longest_tokens: int) -> Load:
    """The sessions of a cell, those of traces and of closed loops cut to `longest_tokens`.

    Open loop: in steady state; recorded sessions arrive as a Poisson process, those of a mix as MIXES states.
    """
    if (cell.rate_per_s is None) == (cell.agents is None):
        raise SimulationError(f"cell: {cell.workload} needs a rate or a number of agents; give one of them")
    end_s = cell.schedule.end_s
    if cell.workload in (*MIXES, *SEQUENCES):
        if cell.agents is not None:
            return built_in_load(cell.workload, cell.agents, end_s, cell.seed, longest_tokens, cell.pause_cap_s)
        if cell.workload not in MIXES or cell.rate_per_s is None:
            raise SimulationError(f"workload {cell.workload!r}: it runs in a closed loop only; give a number of agents")
        return _mix_load(cell.workload, cell.rate_per_s, end_s, cell.seed)
    if not table_files(paths.TRACES / cell.workload, "turns"):
        raise SimulationError(f"workload {cell.workload!r} is unknown; choose from {', '.join(workload_names())}")
    recorded, adjustments = load_traces(paths.TRACES / cell.workload, cell.split, longest_tokens)
    if cell.agents is None:
        return trace_load(recorded, Poisson(), cell.rate_per_s, end_s, cell.seed, adjustments)
    return recorded_closed_load(recorded, cell.agents, end_s, cell.seed, cell.pause_cap_s, adjustments)


@lru_cache(maxsize=8)
def _mix_load(workload: str, rate_per_s: float, end_s: float, seed: int) -> Load:
    """Drawn once a process: many policies and trials run the same sessions."""
    return mix_load(MIXES[workload], rate_per_s, end_s, seed)


@cache
def load_traces(
    folder: Path, split: Split | None, longest_tokens: int
) -> tuple[tuple[RecordedSession, ...], Adjustments]:
    """The sessions, and what was changed in them, which is logged. Read once a process."""
    adjustments = Adjustments()
    recorded = read_trace_set(folder, split, longest_tokens, adjustments)
    logger.info(
        "%s: %d sessions for %s; %s",
        folder,
        len(recorded),
        "all uses" if split is None else split.use,
        "; ".join(adjustments.lines()) or "whole",
    )
    return recorded, adjustments


@cache
def load_profile(path: Path) -> StepProfile:
    return StepProfile.load(path)


def settings_on(settings: SchedulerSettings, profile: Path) -> SchedulerSettings:
    """The settings with the step times of another engine, as a bundle for it would state them."""
    engine = load_profile(profile)
    return dataclasses.replace(settings, step_time=engine.linear, profile=profile.stem)


@cache
def load_predictor(folder: Path) -> Predictor:
    return OnnxPredictor.load(folder)
