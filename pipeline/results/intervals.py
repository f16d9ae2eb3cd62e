"""Several runs of a policy as one cell with 95 % confidence intervals, by a bootstrap over sessions.

A resample draws as many sessions of each run as it has, with replacement, all turns of a session together: they share
their lengths and tools. Policies that ran the same sessions are resampled alike, so that their ratio's interval is that
of paired measurements: luck with the workload cancels out. What the intervals do not hold is that sessions of one run
meet in the same queue; several seeds, each a run of its own, show that.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..simulator.record.evidence import Evidence
from .metrics_file import BASES, OURS, UNTUNED, Metrics, ratio

RESAMPLES = 1000
LEVEL = (2.5, 97.5)
Floats = NDArray[np.float64]


def cells_of(runs: Mapping[str, Sequence[Evidence]], seed: int) -> dict[str, Metrics]:
    """The cell of each policy from its runs, one a workload seed and in the same order for all policies."""
    weights = _resamples(runs, seed)
    drawn = {policy: _drawn(of_policy, weights) for policy, of_policy in runs.items()}
    cells: dict[str, Metrics] = {}
    for policy, of_policy in runs.items():
        cell = pooled(of_policy)
        for metric, values in drawn[policy].items():
            cell |= _interval(metric, cell[metric], values)
        cells[policy] = cell
    for policy, cell in cells.items():
        for base in (*BASES, UNTUNED) if policy == OURS else BASES:
            if base in cells and base != policy:
                cell |= _ratio(base, cell, cells[base], drawn[policy], drawn[base])
    return cells


def pooled(runs: Sequence[Evidence]) -> Metrics:
    """Metrics over all runs: rates and counts of preemptions as means of the runs, waits and shares over all turns."""
    metrics = {name: float(np.mean([run.metrics[name] for run in runs])) for name in runs[0].metrics}
    waits = np.concatenate([np.array(run.ttft_s) for run in runs])
    in_time = np.concatenate([np.array(run.in_time) for run in runs])
    return metrics | {
        "attainment": float(in_time.mean()),
        "ttft_mean_s": float(waits.mean()),
        "ttft_p50_s": float(np.percentile(waits, 50)),
        "ttft_p99_s": float(np.percentile(waits, 99)),
        "longest_wait_s": float(waits.max()),
        "turns": float(len(waits)),
        "unfinished": float(sum(run.metrics["unfinished"] for run in runs)),
    }


Weights = Sequence[tuple[Mapping[str, int], Floats]]
"""A run each: the place of each session, and how often each resample holds it, (RESAMPLES, sessions)."""


def _resamples(runs: Mapping[str, Sequence[Evidence]], seed: int) -> Weights:
    weights = []
    for number, same_load in enumerate(zip(*runs.values(), strict=True)):
        names = sorted({session for run in same_load for session in run.sessions})
        draws = np.random.default_rng((seed, number)).multinomial(
            len(names), np.full(len(names), 1 / len(names)), size=RESAMPLES
        )
        weights.append(({name: place for place, name in enumerate(names)}, draws.astype(np.float64)))
    return weights


def _drawn(runs: Sequence[Evidence], weights: Weights) -> dict[str, Floats]:
    """The metrics that are sums over sessions, for each resample."""
    sums = np.zeros((RESAMPLES, 3))  # turns in time, turns, sessions in time
    for run, (places, draws) in zip(runs, weights, strict=True):
        counts = np.zeros((len(places), 3))
        order = np.array([places[name] for name in run.sessions], np.intp)
        at = order[np.array(run.turn_sessions, np.intp)]
        np.add.at(counts[:, 0], at, np.array(run.in_time))
        np.add.at(counts[:, 1], at, 1)
        counts[order, 2] = run.sessions_in_time
        sums += draws @ counts
    window_s = sum(run.window_s for run in runs)
    return {
        "effective_throughput": sums[:, 0] / window_s,
        "attainment": sums[:, 0] / np.maximum(sums[:, 1], 1),
        "session_effective_throughput": sums[:, 2] / window_s,
    }


def _interval(name: str, value: float, values: Floats) -> Metrics:
    low, high = np.percentile(values, LEVEL)
    return {f"{name}_low": min(float(low), value), f"{name}_high": max(float(high), value)}


def _ratio(
    base: str, cell: Metrics, base_cell: Metrics, drawn: Mapping[str, Floats], of: Mapping[str, Floats]
) -> Metrics:
    """How many times the base's turns in time; nothing where the base has none, no interval where a resample has."""
    metric = "effective_throughput"
    value = ratio(cell[metric], base_cell[metric])
    if value is None:
        return {}
    name = f"over_{base}"
    if not of[metric].all():
        return {name: value}
    return {name: value, **_interval(name, value, drawn[metric] / of[metric])}
