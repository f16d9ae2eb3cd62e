"""`augserve plan WORKLOAD --agents N`: how many engines a load needs, by kind of engine and by policy."""

import argparse
import dataclasses
import importlib.util
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ...data.workload.built_in import SEQUENCES
from ..project import paths
from ..project.stage import StageError

if importlib.util.find_spec("vllm") is None:
    raise StageError("plan: vLLM is not installed, and its scheduler is simulated; install it")

from ...models.serving.settings import Slo
from ..results.aligned import aligned
from ..simulator.catalogue import AUGSERVE, VLLM
from ..simulator.cells.capacity import ATTAINMENT
from ..simulator.cells.cell import Cell, cell_load, load_profile
from ..simulator.cells.evidence import run_evidence
from ..simulator.cells.parallel import pool
from ..simulator.cells.runs import counted
from ..simulator.cells.schedule import Schedule
from ..simulator.cells.workers import add_on
from ..simulator.engine import context_tokens
from ..simulator.errors import SimulationError
from ..simulator.fleet.routing import Fleet, Routing
from .engines_needed import Need, Plan
from .scene import DEFAULT_PROFILE, checked_policies, read_engine, trace_folder

PHASES = Schedule(60.0, 240.0, 15.0)
MOST_ENGINES = 64
SIMULATED_ENGINES = 4


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("workload", metavar="WORKLOAD", help=f"{', '.join(SEQUENCES)}, or a folder of traces")
    add("--agents", type=int, required=True, metavar="N", help="agents at once, each with a session after the other")
    slo = "TTFT and TPOT of a turn, seconds, such as 1.0:0.1 (default: those of the bundle)"
    add("--slo", metavar="TTFT:TPOT", help=slo)
    share = f"share of the turns that must meet the SLO (default {ATTAINMENT:g})"
    add("--share", type=float, default=ATTAINMENT, metavar="SHARE", help=share)
    kinds = f"kinds of engines: files of {paths.PROFILES} without .json, or paths (default {DEFAULT_PROFILE})"
    add("--profile", nargs="+", default=[DEFAULT_PROFILE], metavar="PROFILE", help=kinds)
    policies = [VLLM.name, AUGSERVE.name]
    add("--policy", nargs="+", default=policies, metavar="POLICY", help=f"default: {' '.join(policies)}")
    routing = f"who serves a turn, see simulate: {', '.join(Routing)} (default %(default)s)"
    add("--routing", choices=list(Routing), default=Routing.BACKLOG.value, metavar="ROUTING", help=routing)
    add(
        "--most",
        type=int,
        default=MOST_ENGINES,
        metavar="N",
        help="engines that are tried, at most (default %(default)s)",
    )
    few = "engines in one simulation, at most; with their share of the agents they stand for more (default %(default)s)"
    add("--simulated", type=int, default=SIMULATED_ENGINES, metavar="N", help=few)
    add("--pause-cap", type=float, metavar="S", help="no tool takes longer (default: as recorded or drawn)")
    add("--seeds", type=int, default=1, metavar="K", help="runs, each with its own sessions (default 1)")
    add("--seed", type=int, default=1, help="seed of the sessions (default %(default)s)")
    for name, meaning in (("warmup", "before the window"), ("window", "measured"), ("drain", "after the window")):
        add(f"--{name}", type=float, metavar="S", help=f"seconds {meaning} (default {getattr(PHASES, f'{name}_s'):g})")
    add("--kv-offload-gb", type=float, metavar="GIB", help="host memory for vLLM's KV offloading (default: off)")
    add_on(parser)
    bundle = f"bundle of settings and models (default: {paths.BUNDLE} if a policy predicts)"
    add("--bundle", type=Path, metavar="DIR", help=bundle)


def run(arguments: argparse.Namespace) -> None:
    """Raises SimulationError, ProfileError, BundleError or an error of the workload for an invalid argument."""
    plans = [
        Plan(cell, arguments.share, arguments.most, arguments.seeds, arguments.simulated)
        for cell in read_cells(arguments, checked_policies(arguments))
    ]
    processes = len(os.sched_getaffinity(0))
    with (
        pool(processes, run_evidence, arguments.on) as run_cell,
        counted(run_cell, "plan") as submit,
        ThreadPoolExecutor(len(plans)) as searches,
    ):
        print(table(list(searches.map(lambda plan: plan.search(submit), plans))))


def read_cells(arguments: argparse.Namespace, policies: list[str]) -> list[Cell]:
    """One cell a kind of engine and policy, with one engine each. Raises as `run`."""
    for name, least in (("seed", 0), ("seeds", 1), ("most", 1), ("simulated", 1)):
        if getattr(arguments, name) < least:
            raise SimulationError(f"--{name} is {getattr(arguments, name)}; it must be {least} or more")
    if not 0 < arguments.share < 1:
        raise SimulationError(f"--share is {arguments.share:g}; it must be between 0 and 1")
    workload = arguments.workload
    if workload not in SEQUENCES:
        workload = str(trace_folder(workload).resolve())
    cells = []
    for profile in dict.fromkeys(arguments.profile):
        engine = read_engine(argparse.Namespace(**{**vars(arguments), "profile": profile}), PHASES)
        settings = engine.settings
        if arguments.slo is not None:
            settings = dataclasses.replace(settings, slo=parse_slo(arguments.slo))
        cells += [
            Cell(
                workload,
                policy,
                engine.profile_path,
                None,
                arguments.seed,
                engine.schedule,
                settings,
                engine.bundle,
                agents=arguments.agents,
                pause_cap_s=arguments.pause_cap,
                kv_offload_gib=arguments.kv_offload_gb,
                fleet=Fleet(1, Routing(arguments.routing)),
            )
            for policy in policies
        ]
        cell_load(cells[-1], context_tokens(engine.profile.limits))  # before any run begins
    return cells


def parse_slo(text: str) -> Slo:
    """Raises SimulationError for another form than TTFT:TPOT."""
    try:
        ttft_s, tpot_s = map(float, text.split(":"))
        return Slo(ttft_s, tpot_s)
    except ValueError as error:
        raise SimulationError(f"--slo {text}: not of the form TTFT:TPOT, positive seconds; correct it") from error


def table(needs: list[Need]) -> str:
    """A row a kind of engine and policy."""
    header = ["engine", "policy", "engines", "95 % interval", "in SLO", "steps/min", "TTFT p90, s"]
    return aligned([header, *map(_row, needs)], left=[0, 1])


def _row(need: Need) -> list[str]:
    metrics = need.metrics
    return [
        load_profile(need.cell.profile).name,
        need.cell.policy,
        _count(need.engines),
        f"{_count(need.low)} to {_count(need.high)}",
        f"{metrics['attainment']:.1%}",
        f"{metrics['steps_per_minute']:.1f}",
        f"{metrics['ttft_p90_s']:.2f}",
    ]


def _count(engines: int | None) -> str:
    return "more" if engines is None else str(engines)
