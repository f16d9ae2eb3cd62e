"""Real against simulated: the metrics of both, their errors, the order of policies, as table, CSV and plot."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from augserve.data.atomic import atomic_file, write_json, write_text
from augserve.models.serving.settings import Slo
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.simulator.record.metrics import Window, pace_metrics, run_metrics
from augserve.pipeline.simulator.record.records import SimulationResult

Pair = Mapping[str, float]
"""`real` and `simulated`."""
Results = Mapping[str, Mapping[str, Mapping[str, Pair]]]
"""load → policy → metric"""
Paces = Mapping[str, Mapping[str, float]]
"""load → policy → what step times took there, as a multiple of the calibration's."""

TIMES = ("ttft_p50_s", "ttft_p90_s", "tpot_p50_s", "tpot_mean_s", "throughput")
"""Metrics whose relative error is reported."""
METRICS = (*TIMES, "attainment", "effective_throughput", "prefix_hit_rate", "turns")
TIE = 0.03
"""Policies whose turns in time differ by less, relative to the larger, are no better one than the other."""
STANDARD_ERRORS = 2.0
"""Nor those that differ by less than so many standard errors of a difference of counts, as of Poisson processes; turns
of a session share their fate, so that the true error is larger still."""
PLOTTED = (*TIMES, "attainment")


def measured(result: SimulationResult, window: Window, slo: Slo) -> dict[str, float]:
    """METRICS of one run over the turns that arrive in the window.

    Raises SimulationError where no turn arrives in it, StageError where none finishes.
    """
    turns = [turn for turn in result.turns if window.holds(turn.arrival_s)]
    found = run_metrics(result, window, slo) | pace_metrics(turns)
    if "tpot_mean_s" not in found:
        raise StageError("fidelity: no turn of a load finished; lower fidelity.loads or raise fidelity.duration_s")
    waits_s = [(result.end_s if t.first_token_s is None else t.first_token_s) - t.arrival_s for t in turns]
    found["ttft_p90_s"] = float(np.percentile(waits_s, 90))
    return {name: found[name] for name in METRICS}


def paired(real: Pair, simulated: Pair) -> dict[str, Pair]:
    return {name: {"real": real[name], "simulated": simulated[name]} for name in METRICS}


def relative_error(pair: Pair) -> float:
    """Simulated over real, less 1; 0 where both are 0, infinite where only the real one is."""
    if pair["real"] == 0:
        return 0.0 if pair["simulated"] == 0 else float("inf")
    return pair["simulated"] / pair["real"] - 1


def summarize(results: Results) -> dict[str, Any]:
    """Median absolute relative errors over loads and policies, the largest difference of attainment (a share), and
    the order of policies at each load."""
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
    """How the simulator orders the policies of a load by their turns in time: `same`, `reversed`, or `tied` where real
    or simulated policies are not told apart and so contradict nothing."""
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
    """Markdown, a line a load and policy: the pace, then real / simulated."""
    lines = ["| load | policy | pace | " + " | ".join(METRICS) + " |", "|---|---|---:|" + "---:|" * len(METRICS)]
    for load in sorted(results, key=float):
        for policy, cell in results[load].items():
            pairs = (f"{cell[name]['real']:.3g} / {cell[name]['simulated']:.3g}" for name in METRICS)
            lines.append(f"| {load}x | {policy} | {paces[load][policy]:.3f} | {' | '.join(pairs)} |")
    return "\n".join(lines) + "\n"


def plot_rows(results: Results) -> str:
    """CSV for `dvc plots`, a row a load, policy and metric."""
    rows = ["load,policy,metric,real,simulated"]
    for load in sorted(results, key=float):
        for policy, cell in results[load].items():
            rows += [
                f"{load},{policy},{name},{cell[name]['real']:.6g},{cell[name]['simulated']:.6g}" for name in METRICS
            ]
    return "\n".join(rows) + "\n"


def write_report(folder: Path, results: Results, paces: Paces, conditions: Mapping[str, Any]) -> str:
    """metrics.json, summary.json (with paces and `conditions`), fidelity.csv, fidelity.svg and table.md; gives the
    table."""
    text = table(results, paces)
    write_json(folder / "summary.json", {**summarize(results), "paces": paces, "conditions": conditions})
    write_text(folder / "fidelity.csv", plot_rows(results))
    write_text(folder / "table.md", text)
    draw(results, folder / "fidelity.svg")
    write_json(folder / "metrics.json", results)
    return text


def draw(results: Results, path: Path) -> None:
    """One axis a metric, over the load: real solid, simulated dashed, a colour a policy."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 5.6), layout="constrained")
    FigureCanvasSVG(figure)
    loads: Sequence[str] = sorted(results, key=float)
    for axis, name in zip(figure.subplots(2, 3).flat, PLOTTED, strict=True):
        for colour, policy in enumerate(results[loads[0]]):
            for side, style in (("real", "o-"), ("simulated", "s--")):
                values = [results[load][policy][name][side] for load in loads]
                shape = {"color": f"C{colour}", "linewidth": 1.2, "markersize": 4}
                axis.plot([float(load) for load in loads], values, style, label=f"{policy}, {side}", **shape)
        axis.set(title=name, xlabel="load, x capacity@90", ylim=(0, None))
    axis.legend(fontsize=7, frameon=False)
    with mpl.rc_context({"svg.hashsalt": "augserve", "svg.fonttype": "none"}), atomic_file(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
