"""`augserve simulate WORKLOAD`: run policies through vLLM's scheduler under a virtual clock and measure them."""

import argparse
import importlib.util
from pathlib import Path

from ...data.workload.mix import MIX
from ..project import paths
from ..project.stage import StageError

if importlib.util.find_spec("vllm") is None:
    raise StageError("simulate: vLLM is not installed, and its scheduler is simulated; install it")

from ..simulator.catalogue import FAMILIES, SIMULATED, VLLM, find
from ..simulator.clock import VirtualClock
from ..simulator.errors import SimulationError
from ..simulator.loop import Simulation
from ..simulator.policies import PolicyInputs, build_policy
from ..simulator.record.metrics import pace_metrics, run_metrics
from ..simulator.record.observer import Observer, ObserverGroup
from ..simulator.record.progress import Progress
from ..simulator.record.recording import Recording
from ..simulator.record.timeline import PolicyRun, write_timeline
from ..simulator.record.traces import write_traces
from .scene import DEFAULT_PROFILE, RATE_PER_S, Scene, read_scene

Metrics = dict[str, float]


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("workload", metavar="WORKLOAD", help=f"{MIX}, or a folder of traces")
    add(
        "--profile",
        default=DEFAULT_PROFILE,
        help=f"file of {paths.PROFILES} without .json, or a path (default %(default)s)",
    )
    policies = f"one or more of {', '.join((*SIMULATED, *FAMILIES))} (default: {VLLM.name})"
    add("--policy", nargs="+", default=[VLLM.name], metavar="POLICY", help=policies)
    rates = parser.add_mutually_exclusive_group()
    rates.add_argument("--rate", type=float, help=f"sessions per second (default {RATE_PER_S:g})")
    rates.add_argument(
        "--load", type=float, help=f"rate as a multiple of stock vLLM's capacity in {paths.EVALUATION_METRICS}"
    )
    add("--arrivals", default="poisson", help="poisson, gamma:CV, burst or swing, 1:10 a minute (default %(default)s)")
    add("--seed", type=int, default=1, help="seed of arrivals and drawn sessions (default %(default)s)")
    add("--warmup", type=float, default=12.0, help="seconds before the measured window (default %(default)s)")
    add("--window", type=float, default=35.0, help="seconds measured (default %(default)s)")
    add("--drain", type=float, default=10.0, help="seconds after the window, for its last turns (default %(default)s)")
    offload = "host memory for vLLM's KV offloading, with copies over PCIe (default: off)"
    add("--kv-offload-gb", type=float, metavar="GIB", help=offload)
    add("--bundle", type=Path, metavar="DIR", help="bundle of settings and models (default: the default settings)")
    add("--out", type=Path, metavar="DIR", help="new folder for the tables of a trace, one folder per policy")
    add("--trace", type=Path, metavar="FILE", help="timeline as JSON, for ui.perfetto.dev")


def run(arguments: argparse.Namespace) -> None:
    policies = _checked_policies(arguments.policy, arguments.bundle)
    if arguments.out is not None:
        _require_new(arguments.out)
    scene = read_scene(arguments)
    metrics: dict[str, Metrics] = {}
    timelines: list[PolicyRun] = []
    for policy in policies:
        recording = Recording() if arguments.out is not None or arguments.trace is not None else None
        metrics[policy], end_s = simulate(policy, scene, recording)
        if recording is not None and arguments.out is not None:
            folder = arguments.out if len(policies) == 1 else arguments.out / policy
            timing = "modelled" if arguments.workload == MIX else "pause"
            write_traces(recording, folder, policy, scene.profile.name, timing)
        if recording is not None and arguments.trace is not None:
            timelines.append(PolicyRun(policy, recording, end_s, scene.profile.limits.block_tokens))
    if arguments.trace is not None:
        write_timeline(arguments.trace, timelines)
    print(table(metrics))
    for line in scene.load.adjustments.lines():
        print(f"workload: {line}")


def simulate(policy: str, scene: Scene, recording: Recording | None) -> tuple[Metrics, float]:
    """The policy's metrics over the window, and the virtual time of the end."""
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


def table(metrics_by_policy: dict[str, Metrics]) -> str:
    """A row per metric, a column per policy."""
    names = dict.fromkeys(name for metrics in metrics_by_policy.values() for name in metrics)
    lines = [" ".join(["metric".ljust(30), *(policy.rjust(_width(policy)) for policy in metrics_by_policy)])]
    for name in names:
        cells = (
            f"{metrics[name]:>{_width(policy)},.4g}" if name in metrics else "–".rjust(_width(policy))
            for policy, metrics in metrics_by_policy.items()
        )
        lines.append(" ".join([name.ljust(30), *cells]))
    return "\n".join(lines)


def _width(policy: str) -> int:
    return max(len(policy), 10)


def _checked_policies(names: list[str], bundle: Path | None) -> list[str]:
    policies = list(dict.fromkeys(names))
    for name in policies:
        policy, _ = find(name)
        if policy.needs_models and bundle is None:
            raise SimulationError(f"--policy {name}: the policy needs prediction models; give --bundle")
    return policies


def _require_new(folder: Path) -> None:
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise SimulationError(f"{folder}: not a new or empty folder; give another --out")
