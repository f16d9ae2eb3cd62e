"""`augserve simulate WORKLOAD`: run policies through vLLM's scheduler under a virtual clock and measure them."""

import argparse
import importlib.util
import itertools
from pathlib import Path

from ...data.workload.built_in import SEQUENCES
from ..project import paths
from ..project.stage import StageError
from ..results.aligned import aligned
from ..results.columns import NONE

if importlib.util.find_spec("vllm") is None:
    raise StageError("simulate: vLLM is not installed, and its scheduler is simulated; install it")

from ..simulator.catalogue import SIMULATED, VLLM
from ..simulator.catalogue.static_setting import FORMS
from ..simulator.cells.cell import cell_load
from ..simulator.cells.sampled import sampled_run
from ..simulator.cells.workers import add_on
from ..simulator.engine import context_tokens
from ..simulator.errors import SimulationError
from ..simulator.fleet.routing import ONE_ENGINE, Fleet
from ..simulator.observers.progress import Progress
from ..simulator.observers.recording import Recording
from ..simulator.record.metrics import metrics_of, pace_metrics
from ..simulator.record.timeline import PolicyRun, write_timeline
from ..simulator.record.traces import write_traces
from . import fleets
from .agents import agents_table, read_cells
from .scene import (
    CLOSED_LOOP,
    DEFAULT_ARRIVALS,
    DEFAULT_PROFILE,
    OPEN_LOOP,
    RATE_PER_S,
    Scene,
    checked_policies,
    read_engine,
    read_scene,
)

Metrics = dict[str, float]


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("workload", metavar="WORKLOAD", help=f"{', '.join(SEQUENCES)}, or a folder of traces")
    add(
        "--profile",
        default=DEFAULT_PROFILE,
        help=f"file of {paths.PROFILES} without .json, or a path (default %(default)s)",
    )
    policies = f"one or more of {', '.join((*SIMULATED, *FORMS))} (default: {VLLM.name})"
    add("--policy", nargs="+", default=[VLLM.name], metavar="POLICY", help=policies)
    rates = parser.add_mutually_exclusive_group()
    rates.add_argument("--rate", type=float, help=f"open loop: sessions per second (default {RATE_PER_S:g})")
    rates.add_argument(
        "--load", type=float, help=f"rate as a multiple of stock vLLM's capacity in {paths.EVALUATION_METRICS}"
    )
    arrivals = f"open loop: poisson, gamma:CV, burst or swing, 1:10 a minute (default {DEFAULT_ARRIVALS})"
    add("--arrivals", metavar="PROCESS", help=arrivals)
    closed = "closed loop: so many agents at once, each with a session after the other"
    add("--agents", type=int, nargs="+", metavar="N", help=closed)
    add(
        "--pause-cap", type=float, metavar="S", help="closed loop: no tool takes longer (default: as recorded or drawn)"
    )
    add("--seeds", type=int, default=1, metavar="K", help="closed loop: runs, each with its own sessions (default 1)")
    add("--seed", type=int, default=1, help="seed of arrivals and drawn sessions (default %(default)s)")
    for name, meaning in (
        ("warmup", "seconds before the measured window"),
        ("window", "seconds measured"),
        ("drain", "seconds after the window, for its last turns"),
    ):
        usual = [f"{getattr(schedule, f'{name}_s'):g}" for schedule in (OPEN_LOOP, CLOSED_LOOP)]
        add(f"--{name}", type=float, metavar="S", help=f"{meaning} (default {usual[0]}, with --agents {usual[1]})")
    fleets.configure(parser)
    add_on(parser)
    offload = "host memory for vLLM's KV offloading, with copies over PCIe (default: off)"
    add("--kv-offload-gb", type=float, metavar="GIB", help=offload)
    bundle = f"bundle of settings and models (default: {paths.BUNDLE} if a policy predicts, else the default settings)"
    add("--bundle", type=Path, metavar="DIR", help=bundle)
    add("--out", type=Path, metavar="DIR", help="new folder for the tables of a trace, one folder per policy")
    add("--trace", type=Path, metavar="FILE", help="timeline as JSON, for ui.perfetto.dev")


def run(arguments: argparse.Namespace) -> None:
    policies = checked_policies(arguments)
    if arguments.out is not None:
        _require_new(arguments.out)
    if arguments.agents is not None:
        run_agents(arguments, policies)
        return
    if arguments.seeds != 1 or arguments.pause_cap is not None or arguments.on is not None:
        raise SimulationError("--seeds, --pause-cap and --on are for closed loops; give --agents too")
    scene = read_scene(arguments)
    print(table(run_recorded(arguments, policies, scene)))
    for line in scene.load.adjustments.lines():
        print(f"workload: {line}")


def run_agents(arguments: argparse.Namespace, policies: list[str]) -> None:
    """Closed loops: in worker processes, or in this one where the run is to be recorded."""
    cells = read_cells(arguments, policies)
    if arguments.out is None and arguments.trace is None:
        print(agents_table(cells, arguments.on))
    elif len({(cell.agents, cell.seed) for cell in cells}) > 1:
        raise SimulationError("--out and --trace record one load; give one number of --agents and one of --seeds")
    else:
        engine = read_engine(arguments)
        scene = Scene(engine, cell_load(cells[0], context_tokens(engine.profile.limits)))
        print(table(run_recorded(arguments, policies, scene)))


def run_recorded(arguments: argparse.Namespace, policies: list[str], scene: Scene) -> dict[str, Metrics]:
    """The metrics of each run, in this process; the tables and the timeline where they are asked for."""
    metrics: dict[str, Metrics] = {}
    timelines: list[PolicyRun] = []
    recorded = arguments.out is not None or arguments.trace is not None
    if recorded and arguments.replicas > 1:
        raise SimulationError("--out and --trace record one engine; leave out --replicas")
    for policy, fleet in itertools.product(policies, fleets.read_fleets(arguments)):
        recording = Recording() if recorded else None
        name = fleets.run_name(policy, fleet)
        metrics[name], end_s = simulate(policy, scene, recording, fleet)
        if recording is not None and arguments.out is not None:
            folder = arguments.out if len(policies) == 1 else arguments.out / policy
            timing = "modelled" if arguments.workload in SEQUENCES else "pause"
            write_traces(recording, folder, policy, scene.engine.profile.name, timing)
        if recording is not None and arguments.trace is not None:
            timelines.append(PolicyRun(policy, recording, end_s, scene.engine.profile.limits.block_tokens))
    if arguments.trace is not None:
        write_timeline(arguments.trace, timelines)
    return metrics


def simulate(
    policy: str, scene: Scene, recording: Recording | None, fleet: Fleet = ONE_ENGINE
) -> tuple[Metrics, float]:
    """The policy's metrics over the window, and the virtual time of the end."""
    engine, window = scene.engine, scene.engine.schedule.window
    with Progress(fleets.run_name(policy, fleet), engine.schedule.end_s) as progress:
        observers = [progress] if recording is None else [progress, recording]
        result, samples = sampled_run(
            policy, engine.profile, scene.load, engine.schedule, engine.settings, engine.predictor, observers, fleet
        )
    metrics = metrics_of([samples])
    turns = [turn for turn in result.turns if window.holds(turn.arrival_s)]
    if engine.profile.limits.host_kv_tokens:
        metrics["loaded_tokens"] = float(sum(turn.loaded_tokens for turn in turns))
    return metrics | pace_metrics(turns), result.end_s


def table(metrics_by_policy: dict[str, Metrics]) -> str:
    """A row per metric, a column per policy."""
    names = dict.fromkeys(name for metrics in metrics_by_policy.values() for name in metrics)
    rows = [
        [name, *(f"{metrics[name]:,.4g}" if name in metrics else NONE for metrics in metrics_by_policy.values())]
        for name in names
    ]
    return aligned([["metric", *metrics_by_policy], *rows], left=[0])


def _require_new(folder: Path) -> None:
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise SimulationError(f"{folder}: not a new or empty folder; give another --out")
