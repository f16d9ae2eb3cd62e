"""Real against simulated runs: the metrics of both, their errors, and the order of policies, as table and figure."""

import math
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from augserve.data.atomic import write_json, write_text
from augserve.models.serving.settings import Slo
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.results.figures import svg_figure
from augserve.pipeline.simulator.record.metrics import pace_metrics, run_metrics
from augserve.pipeline.simulator.record.records import SimulationResult
from augserve.pipeline.simulator.record.window import Window

Pair = Mapping[str, float]
"""`real` and `simulated`."""
Results = Mapping[str, Mapping[str, Mapping[str, Pair]]]
"""load → policy → metric"""
Paces = Mapping[str, Mapping[str, float]]
"""load → policy → factor of the step times relative to the calibration."""

TIMES = ("ttft_p50_s", "ttft_p90_s", "tpot_p50_s", "tpot_mean_s", "throughput")
"""Metrics with a reported relative error."""
METRICS = (*TIMES, "attainment", "effective_throughput", "prefix_hit_rate", "turns")
TIE = 0.03
"""Two policies are tied if their counts of turns within the SLO differ by less, relative to the larger one."""
STANDARD_ERRORS = 2.0
"""They are also tied within this many standard errors of a difference of Poisson counts. The true error is larger,
because the turns of a session are correlated."""
PLOTTED = (*TIMES, "attainment")


def measured(result: SimulationResult, window: Window, slo: Slo) -> dict[str, float]:
    """METRICS of one run over the turns that arrive in the window.

    Raises SimulationError if no turn arrives in it, StageError if none finishes.
    """
    turns = [turn for turn in result.turns if window.holds(turn.arrival_s)]
    metrics = run_metrics(result, window, slo) | pace_metrics(turns)
    if "tpot_mean_s" not in metrics:
        raise StageError("fidelity: no turn of a load finished; lower fidelity.loads or raise fidelity.duration_s")
    return {name: metrics[name] for name in METRICS}


def paired(real: Pair, simulated: Pair) -> dict[str, Pair]:
    return {name: {"real": real[name], "simulated": simulated[name]} for name in METRICS}


def relative_error(pair: Pair) -> float:
    """Simulated / real − 1; 0 if both are 0, infinite if only the real one is."""
    if pair["real"] == 0:
        return 0.0 if pair["simulated"] == 0 else float("inf")
    return pair["simulated"] / pair["real"] - 1


def summarize(results: Results) -> dict[str, Any]:
    """Median absolute relative errors over loads and policies, differences of attainment, and the order of policies."""
    cells = [cell for by_policy in results.values() for cell in by_policy.values()]
    errors = {name: [abs(relative_error(cell[name])) for cell in cells] for name in TIMES}
    attainment = [abs(cell["attainment"]["simulated"] - cell["attainment"]["real"]) for cell in cells]
    return {
        "median_relative_error": {name: _finite(np.median(values)) for name, values in errors.items()},
        "median_relative_error_of_all": _finite(np.median([error for values in errors.values() for error in values])),
        "attainment_median_difference": float(np.median(attainment)),
        "attainment_largest_difference": max(attainment),
        "order": {load: order(by_policy) for load, by_policy in results.items()},
    }


def order(by_policy: Mapping[str, Mapping[str, Pair]]) -> str:
    """The simulated order of the policies at a load, by turns within the SLO: `same` as real, `reversed`, or `tied`."""
    verdicts = {
        _better(first, second, "real") * _better(first, second, "simulated")
        for first, second in combinations(by_policy.values(), 2)
    }
    if -1 in verdicts:
        return "reversed"
    return "tied" if 0 in verdicts else "same"


def _better(first: Mapping[str, Pair], second: Mapping[str, Pair], side: str) -> int:
    a, b = (cell["attainment"][side] * cell["turns"][side] for cell in (first, second))
    if abs(a - b) <= max(TIE * max(a, b), STANDARD_ERRORS * math.sqrt(a + b)):
        return 0
    return 1 if a > b else -1


def table(results: Results, paces: Paces) -> str:
    """Markdown, a line for each load and policy: the pace, then real / simulated."""
    lines = ["| load | policy | pace | " + " | ".join(METRICS) + " |", "|---|---|---:|" + "---:|" * len(METRICS)]
    for load in sorted(results, key=float):
        for policy, cell in results[load].items():
            pairs = (f"{cell[name]['real']:.3g} / {cell[name]['simulated']:.3g}" for name in METRICS)
            lines.append(f"| {load}x | {policy} | {paces[load][policy]:.3f} | {' | '.join(pairs)} |")
    return "\n".join(lines) + "\n"


def write_report(folder: Path, results: Results, paces: Paces, conditions: Mapping[str, Any]) -> str:
    """Write metrics.json, summary.json (with paces and `conditions`), fidelity.svg and table.md; return the table."""
    text = table(results, paces)
    write_json(folder / "summary.json", {**summarize(results), "paces": paces, "conditions": conditions})
    write_text(folder / "table.md", text)
    draw(results, folder / "fidelity.svg")
    write_json(folder / "metrics.json", results)
    return text


def draw(results: Results, path: Path) -> None:
    """Axes for each metric over the load: real runs solid, simulated ones dashed, a colour for each policy."""
    loads = sorted(results, key=float)
    with svg_figure(path, 10.5, 5.6, rows=2, columns=3) as (_, axes):
        for axis, name in zip(axes.flat, PLOTTED, strict=True):
            for colour, policy in enumerate(results[loads[0]]):
                for side, style in (("real", "o-"), ("simulated", "s--")):
                    values = [results[load][policy][name][side] for load in loads]
                    shape = {"color": f"C{colour}", "linewidth": 1.2, "markersize": 4}
                    axis.plot([float(load) for load in loads], values, style, label=f"{policy}, {side}", **shape)
            axis.set(title=name, xlabel="load, x capacity@90", ylim=(0, None))
        axes.flat[-1].legend()


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
