"""Benchmark `simulator`: simulated seconds a second, what of it is vLLM's own code, memory, and growth with turns.

Figures go into simulator.json, what they mean for the target into simulator.md.
"""

import multiprocessing
import resource
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from augserve.data.atomic import write_json, write_text
from augserve.data.workload.arrivals import Poisson
from augserve.data.workload.schedule import mix_load
from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.project.params import BaseParams, load_params
from augserve.pipeline.project.stage import run_stage
from augserve.pipeline.simulator.clock import VirtualClock
from augserve.pipeline.simulator.loop import Simulation
from augserve.pipeline.simulator.policies import PolicyInputs, build_policy
from augserve.pipeline.simulator.profile import StepProfile

REPORT = Path("reports/bench/simulator.json")
ASKED = 300.0
"""Simulated seconds a second, at 1x on one core."""
ASKED_OUTSIDE_VLLM = 0.3
ASKED_MEMORY_MB = 1024.0
PROFILE = Path("data/profiles/llama-3.1-8b-h100.json")
RATE_PER_S = 11.6  # about stock vLLM's capacity@90 there
SHORT_S, LONG_S = 30.0, 90.0
OWN = ("add_request", "schedule", "update_from_output")


def main() -> None:
    seed = load_params("base", BaseParams).seed
    runs: dict[str, dict[str, float]] = {}
    for name, policy, length_s in (
        ("stock", "vllm", SHORT_S),
        ("stock_long", "vllm", LONG_S),
        ("uncached_first", "uncached-first", SHORT_S),
    ):
        # A process each: the peak of memory is the process's.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            runs[name] = pool.submit(measured, policy, length_s, seed).result()
    figures = {f"{name}_{figure}": value for name, run in runs.items() for figure, value in run.items()}
    turn_ms = [runs[name]["wall_ms_a_turn"] for name in ("stock", "stock_long")]
    figures["stock_wall_a_turn_long_over_short_ratio"] = round(turn_ms[1] / turn_ms[0], 3)
    write_json(REPORT, figures)
    write_text(REPORT.with_suffix(".md"), text := said(figures))
    print(*(f"{name}: {value}" for name, value in figures.items()), text, sep="\n")


def said(figures: Mapping[str, float]) -> str:
    """Whether the targets are met, and what stands against the first one."""
    long = {
        name.removeprefix("stock_long_"): value for name, value in figures.items() if name.startswith("stock_long_")
    }
    speed, ceiling, outside = (
        long[name] for name in ("simulated_s_a_second", "vllm_ceiling_simulated_s_a_second", "outside_vllm_share")
    )
    memory, growth = long["peak_memory_mb"], figures["stock_wall_a_turn_long_over_short_ratio"]
    methods = ", ".join(f"`{name}`" for name in OWN)

    def verdict(met: bool) -> str:
        return "met" if met else "missed"

    return f"""# The simulator's speed

The six-augmentation mix at {RATE_PER_S} sessions/s on {PROFILE.stem}, stock vLLM, one core, {LONG_S:g} s simulated.

- Simulated seconds a second: {speed:.1f}; asked {ASKED:g}: {verdict(speed >= ASKED)}. vLLM's own methods ({methods})
  take {1 - outside:.0%} of the time. Were all else free, it would be {ceiling:.1f}: a simulated second is
  {long["turns"] / LONG_S:.0f} turns, {long["steps_a_simulated_second"]:.0f} steps and
  {long["tokens_a_simulated_second"]:,.0f} tokens, on which vLLM's code spends {1000 / ceiling:.0f} ms;
  {ASKED:g} would leave {1000 / ASKED:.1f} ms for all of it.
- Outside vLLM's methods: {outside:.0%} of the time; asked at most {ASKED_OUTSIDE_VLLM:.0%}: \
{verdict(outside <= ASKED_OUTSIDE_VLLM)}.
- Peak memory: {memory:.0f} MB, {long["peak_memory_before_mb"]:.0f} MB of it before the run; asked at most \
{ASKED_MEMORY_MB:.0f} MB: {verdict(memory <= ASKED_MEMORY_MB)}.
- Time a turn in {LONG_S:g} simulated seconds over that in {SHORT_S:g}: {growth:.2f}; 1 is linear growth.
"""


def measured(policy: str, length_s: float, seed: int) -> dict[str, float]:
    """Figures of one run of the mix at 1x on the H100 profile.

    `vllm_ceiling`: simulated seconds a second if all but vLLM's own methods took no time.
    """
    profile = StepProfile.load(PROFILE)
    sessions = mix_load(Poisson(), RATE_PER_S, length_s, seed).sessions
    clock = VirtualClock()
    scheduler = build_policy(policy, PolicyInputs(profile.limits, SchedulerSettings(), None, sessions, clock))
    spent = Spent()
    for name in OWN:
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
    """Seconds spent in the methods that it has wrapped."""

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
