"""What all policies of `augserve simulate` share: the engine, the sessions, the schedule and the settings."""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

from ...data.workload.adjustments import Adjustments
from ...data.workload.arrivals import Arrivals, Recorded, parse_arrivals, require_positive
from ...data.workload.mix import MIX
from ...data.workload.schedule import Load, mix_load, trace_load
from ...data.workload.trace_set import read_trace_set
from ...models.serving.bundle import load_bundle
from ...models.serving.predictor import Predictor
from ...models.serving.settings import SchedulerSettings
from ..project import paths
from ..simulator.cells.cell import Schedule
from ..simulator.engine import context_tokens
from ..simulator.errors import SimulationError
from ..simulator.profile import ProfileError, StepProfile

RATE_PER_S = 1.0
DEFAULT_PROFILE = "llama-3.1-8b-h100"


@dataclass(frozen=True, slots=True)
class Scene:
    profile: StepProfile
    load: Load
    schedule: Schedule
    settings: SchedulerSettings
    predictor: Predictor | None


def read_scene(arguments: argparse.Namespace) -> Scene:
    """Raises ProfileError, BundleError, SimulationError, WorkloadError or TraceError for an invalid argument."""
    profile = _profile(arguments.profile)
    if arguments.kv_offload_gb is not None:
        profile = profile.with_host_memory(arguments.kv_offload_gb)
    for name in ("warmup", "drain"):
        if not 0 <= getattr(arguments, name) < float("inf"):
            raise SimulationError(f"--{name} is {getattr(arguments, name)}; it must be 0 or a positive number")
    require_positive("--window", arguments.window)
    schedule = Schedule(arguments.warmup, arguments.window, arguments.drain)
    rate_per_s = _rate_per_s(arguments, profile)
    bundle = None if arguments.bundle is None else load_bundle(arguments.bundle, None)
    settings = SchedulerSettings(step_time=profile.linear, profile=profile.name) if bundle is None else bundle.settings
    arrivals = _arrivals(arguments.arrivals)
    load = _load(
        arguments.workload, arrivals, rate_per_s, schedule.end_s, arguments.seed, context_tokens(profile.limits)
    )
    return Scene(profile, load, schedule, settings, None if bundle is None else bundle.predictor)


def _profile(name: str) -> StepProfile:
    path = Path(name)
    if path.suffix != ".json":
        path = paths.PROFILES / f"{name}.json"
        if not path.is_file():
            here = ", ".join(sorted(file.stem for file in paths.PROFILES.glob("*.json"))) or "none"
            raise ProfileError(
                f"--profile {name}: no {path} (found there: {here}); run `dvc repro profile` or give --profile PATH"
            )
    return StepProfile.load(path)


def _rate_per_s(arguments: argparse.Namespace, profile: StepProfile) -> float:
    if arguments.load is None:
        rate = RATE_PER_S if arguments.rate is None else float(arguments.rate)
        require_positive("--rate", rate)
        return rate
    require_positive("--load", arguments.load)
    try:
        capacities = json.loads(paths.EVALUATION_METRICS.read_text(encoding="utf-8"))["capacity90"]
        return float(arguments.load) * float(capacities[arguments.workload][profile.name]["vllm"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SimulationError(
            f"--load: {paths.EVALUATION_METRICS} has no capacity of vllm for {arguments.workload} on {profile.name}; "
            "give --rate, or run `dvc repro evaluate`"
        ) from error


def _arrivals(text: str) -> Arrivals:
    arrivals = parse_arrivals(text)
    if isinstance(arrivals, Recorded):
        raise SimulationError(
            "--arrivals recorded: a simulation needs a rate; choose poisson, gamma:CV, burst or swing"
        )
    return arrivals


def _load(
    workload: str, arrivals: Arrivals, rate_per_s: float, duration_s: float, seed: int, longest_tokens: int
) -> Load:
    """The sessions, cut to `longest_tokens` if recorded."""
    if seed < 0:
        raise SimulationError(f"--seed is {seed}; it must be 0 or more")
    if workload == MIX:
        return mix_load(arrivals, rate_per_s, duration_s, seed)
    folder = Path(workload)
    if not folder.is_dir():
        raise SimulationError(f"workload {workload!r}: not {MIX}, and no such folder of traces; correct it")
    adjustments = Adjustments()
    recorded = read_trace_set(folder, None, longest_tokens, adjustments)
    load = trace_load(recorded, arrivals, rate_per_s, duration_s, seed)
    adjustments.repeated_sessions = load.adjustments.repeated_sessions
    return Load(load.sessions, adjustments)
