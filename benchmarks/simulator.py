"""Benchmark `simulator`: simulated seconds a second, the share of vLLM's code, memory, and time by number of turns."""

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
from augserve.data.workload.schedule import mix_load
from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.project import paths
from augserve.pipeline.project.stage import run_stage
from augserve.pipeline.simulator.clock import VirtualClock
from augserve.pipeline.simulator.loop import Simulation
from augserve.pipeline.simulator.policies import PolicyInputs, build_policy
from augserve.pipeline.simulator.profile import StepProfile

from .measure import REPORTS, base_seed, write_figures

MIN_SPEED = 300.0
"""Simulated seconds a second, at 1x on one core."""
MAX_OUTSIDE_VLLM = 0.3
MAX_MEMORY_MB = 1024.0
PROFILE = paths.PROFILES / "llama-3.1-8b-h100.json"
RATE_PER_S = 11.6  # about stock vLLM's capacity@90 there
SHORT_S, LONG_S = 30.0, 90.0
VLLM_METHODS = ("add_request", "schedule", "update_from_output")


def main() -> None:
    seed = base_seed()
    runs: dict[str, dict[str, float]] = {}
    for name, policy, length_s in (
        ("stock", "vllm", SHORT_S),
        ("stock_long", "vllm", LONG_S),
        ("uncached_first", "uncached-first", SHORT_S),
    ):
        # Each run has a process, because the peak of memory is per process.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            runs[name] = pool.submit(measured, policy, length_s, seed).result()
    figures = {f"{name}_{figure}": value for name, run in runs.items() for figure, value in run.items()}
    turn_ms = [runs[name]["wall_ms_a_turn"] for name in ("stock", "stock_long")]
    figures["stock_wall_a_turn_long_over_short_ratio"] = round(turn_ms[1] / turn_ms[0], 3)
    write_figures("simulator", figures)
    write_text(REPORTS / "simulator.md", table := targets(figures))
    print(table)


def targets(figures: Mapping[str, float]) -> str:
    """Targets against the figures of the long run, as a Markdown table."""
    rows = [
        ("simulated seconds a second", figures["stock_long_simulated_s_a_second"], ">=", MIN_SPEED),
        ("share of time outside vLLM's methods", figures["stock_long_outside_vllm_share"], "<=", MAX_OUTSIDE_VLLM),
        ("peak memory, MB", figures["stock_long_peak_memory_mb"], "<=", MAX_MEMORY_MB),
    ]
    lines = ["| figure | measured | target | met |", "|---|---:|---:|---|"]
    for name, value, relation, target in rows:
        met = value >= target if relation == ">=" else value <= target
        lines.append(f"| {name} | {value:.4g} | {relation} {target:g} | {'yes' if met else 'no'} |")
    return "\n".join(lines) + "\n"


def measured(policy: str, length_s: float, seed: int) -> dict[str, float]:
    """Figures of one run of the mix at 1x on the H100 profile.

    `vllm_ceiling`: simulated seconds a second if only VLLM_METHODS took time.
    """
    profile = StepProfile.load(PROFILE)
    sessions = mix_load(Poisson(), RATE_PER_S, length_s, seed).sessions
    clock = VirtualClock()
    scheduler = build_policy(policy, PolicyInputs(profile.limits, SchedulerSettings(), None, sessions, clock))
    spent = Spent()
    for name in VLLM_METHODS:
        setattr(scheduler, name, spent.timed(getattr(scheduler, name)))
    simulation = Simulation(scheduler, profile, clock, sessions)
    before_mb = _peak_mb()
    with tqdm(total=1, desc=f"simulator: {policy}, {length_s:g} s") as progress:
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
