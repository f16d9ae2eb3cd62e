"""Benchmark `simulator`: simulated seconds a second, the share of vLLM's code, memory, and time by number of turns.

Coding agents in a closed loop and the mix at 2x run a second time in single steps (pipeline/simulator/bulk).
"""

import multiprocessing
import resource
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

from tqdm import tqdm

from augserve.data.atomic import write_text
from augserve.data.workload.arrivals import Poisson
from augserve.data.workload.closed_loop import closed_load
from augserve.data.workload.coding_agents.sessions import coding_sequence
from augserve.data.workload.schedule import Load, mix_load
from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.project import paths
from augserve.pipeline.project.stage import run_stage
from augserve.pipeline.simulator.cells.cell import CLOSED_LOOP_BLOCK_TOKENS
from augserve.pipeline.simulator.clock import VirtualClock
from augserve.pipeline.simulator.loop import Simulation
from augserve.pipeline.simulator.observers.observer import Observer
from augserve.pipeline.simulator.policies import PolicyInputs, build_policy
from augserve.pipeline.simulator.profile import StepProfile

from .measure import REPORTS, base_seed, packaged_bundle, write_figures

MIN_SPEED = 300.0
"""Simulated seconds a second, at 1x on one core."""
MIN_OVER_SINGLE = 3.0
"""Speed of the mix at 2x, as a multiple of its speed in single steps."""
AGENTS = 16
CODING_S, CROWDED_S = 600.0, 60.0
MAX_OUTSIDE_VLLM = 0.3
MAX_MEMORY_MB = 1024.0
PROFILE = paths.PROFILES / "llama-3.1-8b-h100.json"
RATE_PER_S = 11.6  # about stock vLLM's capacity@90 there
SHORT_S, LONG_S = 30.0, 90.0
VLLM_METHODS = ("add_request", "schedule", "update_from_output")


def main() -> None:
    seed = base_seed()
    runs: dict[str, dict[str, float]] = {}
    crowded = [(f"{load}_{policy}", policy, load, s) for load, s in CROWDED.items() for policy in PAIR]
    for name, policy, load, length_s in (
        ("stock", "vllm", "mix", SHORT_S),
        ("stock_long", "vllm", "mix", LONG_S),
        ("uncached_first", "uncached-first", "mix", SHORT_S),
        *crowded,
        *((f"{name}_single", policy, load, length_s) for name, policy, load, length_s in crowded),
    ):
        # Each run has a process, because the peak of memory is per process.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            runs[name] = pool.submit(measured, policy, load, length_s, seed, name.endswith("_single")).result()
    figures = {f"{name}_{figure}": value for name, run in runs.items() for figure, value in run.items()}
    turn_ms = [runs[name]["wall_ms_a_turn"] for name in ("stock", "stock_long")]
    figures["stock_wall_a_turn_long_over_short_ratio"] = round(turn_ms[1] / turn_ms[0], 3)
    write_figures("simulator", figures)
    write_text(REPORTS / "simulator.md", table := targets(figures))
    print(table)


def targets(figures: Mapping[str, float]) -> str:
    """Targets against the figures of the long run, as a Markdown table."""
    speed = "simulated_s_a_second"
    rows = [
        *((f"{AGENTS} coding agents, {p}", figures[f"coding_{p}_{speed}"], ">=", MIN_SPEED) for p in PAIR),
        *(
            (
                f"mix at 2x, {p}, over single steps",
                figures[f"mix_2x_{p}_{speed}"] / figures[f"mix_2x_{p}_single_{speed}"],
                ">=",
                MIN_OVER_SINGLE,
            )
            for p in PAIR
        ),
        ("simulated seconds a second", figures["stock_long_simulated_s_a_second"], ">=", MIN_SPEED),
        ("share of time outside vLLM's methods", figures["stock_long_outside_vllm_share"], "<=", MAX_OUTSIDE_VLLM),
        ("peak memory, MB", figures["stock_long_peak_memory_mb"], "<=", MAX_MEMORY_MB),
    ]
    lines = ["| figure | measured | target | met |", "|---|---:|---:|---|"]
    for name, value, relation, target in rows:
        met = value >= target if relation == ">=" else value <= target
        lines.append(f"| {name} | {value:.4g} | {relation} {target:g} | {'yes' if met else 'no'} |")
    return "\n".join(lines) + "\n"


PAIR = ("vllm", "augserve")
CROWDED = {"coding": CODING_S, "mix_2x": CROWDED_S}
"""Loads that are measured with bulks and without, and their virtual seconds."""


class SingleSteps(Observer):
    def asks_for_each_step(self) -> bool:
        return True


def load_of(name: str, length_s: float, seed: int) -> Load:
    if name == "coding":
        return closed_load(coding_sequence(seed), AGENTS, length_s, seed)
    return mix_load(Poisson(), RATE_PER_S * (2 if name == "mix_2x" else 1), length_s, seed)


def measured(policy: str, workload: str, length_s: float, seed: int, single: bool) -> dict[str, float]:
    """Figures of one run on the H100 profile; with `single` without bulks.

    `vllm_ceiling`: simulated seconds a second if only VLLM_METHODS took time.
    """
    load = load_of(workload, length_s, seed)
    profile = StepProfile.load(PROFILE)
    if load.agents is not None:
        profile = profile.with_blocks(CLOSED_LOOP_BLOCK_TOKENS)
    sessions, clock = load.sessions, VirtualClock()
    bundle = packaged_bundle() if policy == "augserve" else None
    settings, predictor = (SchedulerSettings(), None) if bundle is None else (bundle.settings, bundle.predictor)
    scheduler = build_policy(policy, PolicyInputs(profile.limits, settings, predictor, sessions, clock))
    spent = Spent()
    for name in VLLM_METHODS:
        setattr(scheduler, name, spent.timed(getattr(scheduler, name)))
    simulation = Simulation(scheduler, profile, clock, sessions, SingleSteps() if single else None, agents=load.agents)
    before_mb = _peak_mb()
    with tqdm(total=1, desc=f"simulator: {workload}, {policy}, {length_s:g} s") as progress:
        began = time.perf_counter()
        result = simulation.run(length_s)
        wall_s = time.perf_counter() - began
        progress.update()
    scheduler.shutdown()
    scheduled = result.totals.tokens_scheduled
    return {
        "simulated_s_a_second": round(length_s / wall_s, 2),
        "vllm_ceiling_simulated_s_a_second": round(length_s / spent.seconds, 2),
        "outside_vllm_share": round(1 - spent.seconds / wall_s, 4),
        "wall_ms_a_turn": round(wall_s / len(result.turns) * 1e3, 3),
        "steps_a_simulated_second": round(result.totals.steps / length_s, 1),
        "tokens_a_simulated_second": round(scheduled / length_s, 1),
        "turns": float(len(result.turns)),
        "peak_memory_mb": round(_peak_mb(), 1),
        "peak_memory_before_mb": round(before_mb, 1),
    }


class Spent:
    """Sums the seconds of wrapped methods."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        return partial(self._call, method)

    def _call(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        try:
            return method(*arguments, **options)
        finally:
            self.seconds += time.perf_counter() - began


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    run_stage(main)
