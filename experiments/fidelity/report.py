"""Real against simulated runs: the metrics of both, their errors, and the order of policies, as table and figure."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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

TIMES = ("ttft_p50_s", "ttft_p90_s", "tpot_p50_s", "tpot_mean_s", "throughput")
"""Metrics of the open loop with a reported relative error."""
METRICS = (*TIMES, "attainment", "effective_throughput", "prefix_hit_rate", "turns")
AGENT_TIMES = (
    *("steps_per_minute", "sessions_per_hour", "session_time_mean_s", "serving_time_mean_s"),
    *("ttft_p50_s", "ttft_p90_s", "tpot_p50_s", "tpot_mean_s"),
)
"""Metrics of the closed loop with a reported relative error."""
AGENT_METRICS = (*AGENT_TIMES, "attainment", "effective_throughput", "prefix_hit_rate", "turns", "steps")
TIE = 0.03
"""Two policies are tied if their counts differ by less, relative to the larger one."""
STANDARD_ERRORS = 2.0
"""They are also tied within this many standard errors of a difference of Poisson counts. The true error is larger,
because the turns of a session are correlated."""
PLOTTED = (*TIMES, "attainment")


@dataclass(frozen=True, slots=True)
class Comparison:
    """The results of the open loop and of the closed one, and the step times relative to the calibration."""

    open_loop: dict[str, dict[str, dict[str, Pair]]] = field(default_factory=dict)
    closed_loop: dict[str, dict[str, dict[str, Pair]]] = field(default_factory=dict)
    paces: dict[str, dict[str, float]] = field(default_factory=dict)

    def add(self, load: str, policy: str, pairs: dict[str, Pair], pace: float, is_closed: bool) -> None:
        results = self.closed_loop if is_closed else self.open_loop
        results.setdefault(load, {})[policy] = pairs
        self.paces.setdefault(load, {})[policy] = pace

    def summaries(self) -> dict[str, dict[str, Any]]:
        """`open_loop` and `closed_loop`, as far as there are loads, with the order of policies by turns in time.

        That of the closed loop also has the order by finished turns.
        """
        found = {}
        if self.open_loop:
            found["open_loop"] = summarize(self.open_loop, TIMES)
        if self.closed_loop:
            by_steps = {load: order(by_policy, _steps) for load, by_policy in self.closed_loop.items()}
            found["closed_loop"] = summarize(self.closed_loop, AGENT_TIMES) | {"order_of_steps": by_steps}
        return found

    def table(self) -> str:
        """Markdown, a table for each loop."""
        parts = ((self.open_loop, METRICS), (self.closed_loop, AGENT_METRICS))
        return "\n".join(table(results, names, self.paces) for results, names in parts if results)


def measured(result: SimulationResult, window: Window, slo: Slo) -> dict[str, float]:
    """METRICS and AGENT_METRICS of one run over its window, without those of which there is no value.

    Raises SimulationError if no turn arrives in the window, StageError if none finishes.
    """
    turns = [turn for turn in result.turns if window.holds(turn.arrival_s)]
    metrics = run_metrics(result, window, slo) | pace_metrics(turns)
    if "tpot_mean_s" not in metrics:
        raise StageError("fidelity: no turn of a load finished; lower fidelity.loads or raise fidelity.duration_s")
    metrics["steps"] = metrics["throughput"] * window.length_s
    return {name: metrics[name] for name in dict.fromkeys((*METRICS, *AGENT_METRICS)) if name in metrics}


def paired(real: Mapping[str, float], simulated: Mapping[str, float]) -> dict[str, Pair]:
    return {name: {"real": real[name], "simulated": simulated[name]} for name in real if name in simulated}


def relative_error(pair: Pair) -> float:
    """Simulated / real − 1; 0 if both are 0, infinite if only the real one is."""
    if pair["real"] == 0:
        return 0.0 if pair["simulated"] == 0 else float("inf")
    return pair["simulated"] / pair["real"] - 1


def summarize(results: Results, times: Sequence[str]) -> dict[str, Any]:
    """Median absolute relative errors over loads and policies, differences of attainment, and the order of policies."""
    cells = [cell for by_policy in results.values() for cell in by_policy.values()]
    errors = {name: [abs(relative_error(cell[name])) for cell in cells if name in cell] for name in times}
    attainment = [abs(cell["attainment"]["simulated"] - cell["attainment"]["real"]) for cell in cells]
    return {
        "median_relative_error": {name: _finite(np.median(values)) for name, values in errors.items() if values},
        "median_relative_error_of_all": _finite(np.median([error for values in errors.values() for error in values])),
        "attainment_median_difference": float(np.median(attainment)),
        "attainment_largest_difference": max(attainment),
        "order": {load: order(by_policy, _in_time) for load, by_policy in results.items()},
    }


Cell = Mapping[str, Pair]
Count = Callable[[Cell, str], float]
"""A count of turns of a cell, real or simulated."""


def order(by_policy: Mapping[str, Cell], count: Count) -> str:
    """The simulated order of the policies at a load, by a count of turns: `same` as real, `reversed`, or `tied`."""
    verdicts = {
        _better(first, second, "real", count) * _better(first, second, "simulated", count)
        for first, second in combinations(by_policy.values(), 2)
    }
    if -1 in verdicts:
        return "reversed"
    return "tied" if 0 in verdicts else "same"


def _in_time(cell: Cell, side: str) -> float:
    return cell["attainment"][side] * cell["turns"][side]


def _steps(cell: Cell, side: str) -> float:
    return cell["steps"][side]


def _better(first: Cell, second: Cell, side: str, count: Count) -> int:
    a, b = count(first, side), count(second, side)
    if abs(a - b) <= max(TIE * max(a, b), STANDARD_ERRORS * math.sqrt(a + b)):
        return 0
    return 1 if a > b else -1


def table(results: Results, names: Sequence[str], paces: Mapping[str, Mapping[str, float]]) -> str:
    """Markdown, a line for each load and policy: the pace, then real / simulated; – without a value."""
    lines = ["| load | policy | pace | " + " | ".join(names) + " |", "|---|---|---:|" + "---:|" * len(names)]
    for load, by_policy in results.items():
        for policy, cell in by_policy.items():
            pairs = (
                f"{cell[name]['real']:.3g} / {cell[name]['simulated']:.3g}" if name in cell else "–" for name in names
            )
            lines.append(f"| {load} | {policy} | {paces[load][policy]:.3f} | {' | '.join(pairs)} |")
    return "\n".join(lines) + "\n"


def write_report(folder: Path, comparison: Comparison, conditions: Mapping[str, Any]) -> str:
    """Write metrics.json, summary.json (with paces and `conditions`), fidelity.svg and table.md; return the table."""
    text = comparison.table()
    summary = {**comparison.summaries(), "paces": comparison.paces, "conditions": conditions}
    write_json(folder / "summary.json", summary)
    write_text(folder / "table.md", text)
    draw(comparison.open_loop, folder / "fidelity.svg")
    write_json(folder / "metrics.json", comparison.open_loop | comparison.closed_loop)
    return text


def draw(results: Results, path: Path) -> None:
    """Axes for each metric over the load: real runs solid, simulated ones dashed, a colour for each policy."""
    loads = {load: float(load.removesuffix("x")) for load in results}
    with svg_figure(path, 10.5, 5.6, rows=2, columns=3) as (_, axes):
        for axis, name in zip(axes.flat, PLOTTED, strict=True):
            for colour, policy in enumerate(results[next(iter(results))]):
                for side, style in (("real", "o-"), ("simulated", "s--")):
                    values = [results[load][policy][name][side] for load in loads]
                    shape = {"color": f"C{colour}", "linewidth": 1.2, "markersize": 4}
                    axis.plot(list(loads.values()), values, style, label=f"{policy}, {side}", **shape)
            axis.set(title=name, xlabel="load, x capacity@90", ylim=(0, None))
        axes.flat[-1].legend()


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
