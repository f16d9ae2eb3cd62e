"""`augserve simulate WORKLOAD`: run policies through vLLM's scheduler under a virtual clock and measure them."""

import argparse
import importlib.util
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
from ..project.stage import StageError

if importlib.util.find_spec("vllm") is None:
    raise StageError("simulate: vLLM is not installed, and its own scheduler is what is simulated; install it")

from ..simulator.catalogue import FAMILIES, SIMULATED, VLLM, find
from ..simulator.cells.cell import Schedule
from ..simulator.clock import VirtualClock
from ..simulator.engine import context_tokens
from ..simulator.errors import SimulationError
from ..simulator.loop import Simulation
from ..simulator.policies import PolicyInputs, build_policy
from ..simulator.profile import ProfileError, StepProfile
from ..simulator.record.metrics import pace_metrics, run_metrics
from ..simulator.record.observer import Observer, ObserverGroup
from ..simulator.record.progress import Progress
from ..simulator.record.recording import Recording
from ..simulator.record.timeline import PolicyRun, write_timeline
from ..simulator.record.traces import write_traces

RATE_PER_S = 1.0
PROFILE = "llama-3.1-8b-h100"

Metrics = dict[str, float]


@dataclass(frozen=True, slots=True)
class Scene:
    """What all policies of a run share."""

    profile: StepProfile
    load: Load
    schedule: Schedule
    settings: SchedulerSettings
    predictor: Predictor | None


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("workload", metavar="WORKLOAD", help=f"{MIX}, or a folder of traces")
    add("--profile", default=PROFILE, help=f"file of {paths.PROFILES} without .json, or a path (default %(default)s)")
    policies = f"one or more of {', '.join((*SIMULATED, *FAMILIES))} (default: {VLLM.name})"
    add("--policy", nargs="+", default=[VLLM.name], metavar="POLICY", help=policies)
    rates = parser.add_mutually_exclusive_group()
    rates.add_argument("--rate", type=float, help=f"sessions a second (default {RATE_PER_S:g})")
    rates.add_argument(
        "--load", type=float, help=f"the same, in multiples of stock vLLM's capacity of {paths.EVALUATION_METRICS}"
    )
    add("--arrivals", default="poisson", help="poisson, gamma:CV, burst or swing, 1:10 a minute (default %(default)s)")
    add("--seed", type=int, default=1, help="of arrivals and of the sessions drawn (default %(default)s)")
    add("--warmup", type=float, default=12.0, help="seconds before the measured window (default %(default)s)")
    add("--window", type=float, default=35.0, help="seconds measured (default %(default)s)")
    add("--drain", type=float, default=10.0, help="seconds after it, for the last turns (default %(default)s)")
    offload = "host memory for vLLM's KV offloading, copies timed over PCIe (default: off)"
    add("--kv-offload-gb", type=float, metavar="GIB", help=offload)
    add("--bundle", type=Path, metavar="DIR", help="whose settings and models are used (default: settings' defaults)")
    add("--out", type=Path, metavar="DIR", help="new folder for the tables of a trace; a folder a policy if several")
    add("--trace", type=Path, metavar="FILE", help="timeline as JSON, for ui.perfetto.dev")


def run(arguments: argparse.Namespace) -> None:
    policies = _checked_policies(arguments.policy, arguments.bundle)
    if arguments.out is not None:
        _require_new(arguments.out)
    scene = read_scene(arguments)
    found: dict[str, Metrics] = {}
    timelines: list[PolicyRun] = []
    for policy in policies:
        recording = Recording() if arguments.out is not None or arguments.trace is not None else None
        found[policy], end_s = simulate(policy, scene, recording)
        if recording is not None and arguments.out is not None:
            folder = arguments.out if len(policies) == 1 else arguments.out / policy
            timing = "modelled" if arguments.workload == MIX else "pause"
            write_traces(recording, folder, policy, scene.profile.name, timing)
        if recording is not None and arguments.trace is not None:
            timelines.append(PolicyRun(policy, recording, end_s, scene.profile.limits.block_tokens))
    if arguments.trace is not None:
        write_timeline(arguments.trace, timelines)
    print(table(found))
    for line in scene.load.adjustments.lines():
        print(f"workload: {line}")


def read_scene(arguments: argparse.Namespace) -> Scene:
    """Raises ProfileError, BundleError, SimulationError, WorkloadError or TraceError for an argument
    that cannot be."""
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


def simulate(policy: str, scene: Scene, recording: Recording | None) -> tuple[Metrics, float]:
    """The policy's metrics over the window, and the virtual time at which it ended."""
    clock, sessions, end_s = VirtualClock(), scene.load.sessions, scene.schedule.end_s
    scheduler = build_policy(
        policy, PolicyInputs(scene.profile.limits, scene.settings, scene.predictor, sessions, clock)
    )
    try:
        with Progress(policy, end_s) as progress:
            observers: list[Observer] = [progress] if recording is None else [progress, recording]
            simulation = Simulation(scheduler, scene.profile, clock, sessions, ObserverGroup(observers))
            result = simulation.run(end_s)
    finally:
        scheduler.shutdown()
    window = scene.schedule.window
    metrics = run_metrics(result, window, scene.settings.slo)
    turns = [turn for turn in result.turns if window.holds(turn.arrival_s)]
    if scene.profile.limits.host_kv_tokens:
        metrics["loaded_tokens"] = float(sum(turn.loaded_tokens for turn in turns))
    return metrics | pace_metrics(turns), result.end_s


def table(found: dict[str, Metrics]) -> str:
    """A row a metric, a column a policy."""
    names = list(dict.fromkeys(name for metrics in found.values() for name in metrics))
    widths = {policy: max(len(policy), 10) for policy in found}
    head = " ".join(["metric".ljust(30), *(f"{policy:>{widths[policy]}}" for policy in found)])
    rows = (
        " ".join([name.ljust(30), *(_cell(metrics.get(name), widths[policy]) for policy, metrics in found.items())])
        for name in names
    )
    return "\n".join([head, *rows])


def _cell(value: float | None, width: int) -> str:
    return "–".rjust(width) if value is None else f"{value:>{width},.4g}"


def _checked_policies(names: list[str], bundle: Path | None) -> list[str]:
    policies = list(dict.fromkeys(names))
    for name in policies:
        policy, _ = find(name)
        if policy.needs_models and bundle is None:
            raise SimulationError(f"--policy {name}: the policy needs prediction models; give --bundle")
    return policies


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
            "--arrivals recorded: what is simulated has a rate; choose poisson, gamma:CV, burst or swing"
        )
    return arrivals


def _load(
    workload: str, arrivals: Arrivals, rate_per_s: float, duration_s: float, seed: int, longest_tokens: int
) -> Load:
    """Sessions that arrive by `arrivals`; recorded ones as far as the model's context holds them."""
    if seed < 0:
        raise SimulationError(f"--seed is {seed}; it must be 0 or more")
    if workload == MIX:
        return mix_load(arrivals, rate_per_s, duration_s, seed)
    folder = Path(workload)
    if not folder.is_dir():
        raise SimulationError(f"workload {workload!r}: neither {MIX} nor a folder of traces; correct it")
    adjustments = Adjustments()
    recorded = read_trace_set(folder, None, longest_tokens, adjustments)
    load = trace_load(recorded, arrivals, rate_per_s, duration_s, seed)
    adjustments.repeated_sessions = load.adjustments.repeated_sessions
    return Load(load.sessions, adjustments)


def _require_new(folder: Path) -> None:
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise SimulationError(f"{folder}: not a new or empty folder; name a new one")
