"""What all policies of `augserve simulate` share: the engine, the schedule, the settings, and the sessions."""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

from ...data.workload.adjustments import Adjustments
from ...data.workload.arrivals import Arrivals, Recorded, parse_arrivals, require_positive
from ...data.workload.built_in import SEQUENCES
from ...data.workload.mix import MIX
from ...data.workload.schedule import Load, mix_load, trace_load
from ...data.workload.trace_set import read_trace_set
from ...models.serving.bundle import load_bundle
from ...models.serving.predictor import Predictor
from ...models.serving.settings import SchedulerSettings
from ..project import paths
from ..simulator.catalogue import find
from ..simulator.cells.schedule import Schedule
from ..simulator.engine import context_tokens
from ..simulator.errors import SimulationError
from ..simulator.profile import ProfileError, StepProfile

RATE_PER_S = 1.0
DEFAULT_PROFILE = "llama-3.1-8b-h100"
DEFAULT_ARRIVALS = "poisson"
OPEN_LOOP, CLOSED_LOOP = Schedule(12.0, 35.0, 10.0), Schedule(120.0, 600.0, 30.0)
"""Default phases. Turns of a closed loop are long, and their sessions take minutes."""


@dataclass(frozen=True, slots=True)
class Engine:
    profile: StepProfile
    profile_path: Path
    schedule: Schedule
    settings: SchedulerSettings
    bundle: Path | None
    predictor: Predictor | None


@dataclass(frozen=True, slots=True)
class Scene:
    engine: Engine
    load: Load


def read_engine(arguments: argparse.Namespace, standard: Schedule | None = None) -> Engine:
    """`standard`: the default phases, in place of those of the loop.

    Raises ProfileError, BundleError, SimulationError or WorkloadError for an invalid argument.
    """
    path = _profile_path(arguments.profile)
    profile = StepProfile.load(path)
    if arguments.kv_offload_gb is not None:
        profile = profile.with_host_memory(arguments.kv_offload_gb)
    bundle = None if arguments.bundle is None else load_bundle(arguments.bundle, None)
    settings = SchedulerSettings(step_time=profile.linear, profile=profile.name) if bundle is None else bundle.settings
    predictor = None if bundle is None else bundle.predictor
    return Engine(profile, path, _schedule(arguments, standard), settings, arguments.bundle, predictor)


def read_scene(arguments: argparse.Namespace) -> Scene:
    """An open loop. Raises as `read_engine`, and TraceError for unusable traces."""
    engine = read_engine(arguments)
    rate_per_s = _rate_per_s(arguments, engine.profile)
    longest_tokens, end_s = context_tokens(engine.profile.limits), engine.schedule.end_s
    arrivals = _arrivals(arguments.arrivals or DEFAULT_ARRIVALS)
    return Scene(engine, _load(arguments.workload, arrivals, rate_per_s, end_s, arguments.seed, longest_tokens))


def checked_policies(arguments: argparse.Namespace) -> list[str]:
    """The policies, each once. Where one predicts, the bundle of the project is the default."""
    policies = list(dict.fromkeys(arguments.policy))
    predicting = [name for name in policies if find(name)[0].needs_models]
    if predicting and arguments.bundle is None:
        if not paths.BUNDLE.is_dir():
            raise SimulationError(
                f"--policy {predicting[0]}: the policy needs prediction models; give --bundle, or run `dvc repro`"
            )
        arguments.bundle = paths.BUNDLE
    return policies


def _schedule(arguments: argparse.Namespace, standard: Schedule | None) -> Schedule:
    if standard is None:
        standard = OPEN_LOOP if arguments.agents is None else CLOSED_LOOP
    times_s = {
        name: getattr(standard, f"{name}_s") if getattr(arguments, name) is None else float(getattr(arguments, name))
        for name in ("warmup", "window", "drain")
    }
    for name in ("warmup", "drain"):
        if not 0 <= times_s[name] < float("inf"):
            raise SimulationError(f"--{name} is {times_s[name]}; it must be 0 or a positive number")
    require_positive("--window", times_s["window"])
    return Schedule(times_s["warmup"], times_s["window"], times_s["drain"])


def _profile_path(name: str) -> Path:
    path = Path(name)
    if path.suffix != ".json":
        path = paths.PROFILES / f"{name}.json"
        if not path.is_file():
            here = ", ".join(sorted(file.stem for file in paths.PROFILES.glob("*.json"))) or "none"
            raise ProfileError(
                f"--profile {name}: no {path} (found there: {here}); run `dvc repro profile` or give --profile PATH"
            )
    return path


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
    if workload in SEQUENCES:
        raise SimulationError(f"workload {workload!r}: it runs in a closed loop only; give --agents")
    folder = trace_folder(workload)
    adjustments = Adjustments()
    recorded = read_trace_set(folder, None, longest_tokens, adjustments)
    return trace_load(recorded, arrivals, rate_per_s, duration_s, seed, adjustments)


def trace_folder(workload: str) -> Path:
    """Raises SimulationError where the workload is no folder."""
    folder = Path(workload)
    if not folder.is_dir():
        raise SimulationError(
            f"workload {workload!r}: not {', '.join(SEQUENCES)}, and no such folder of traces; correct it"
        )
    return folder
