"""Runs of a policy pooled into one cell, with 95 % confidence intervals by a bootstrap over sessions.

A resample draws as many sessions of each run as the run has, with replacement. The turns of a session stay together,
because they share lengths and tools. Policies that ran the same sessions share the resamples, so that the interval of
their ratio is that of paired measurements. The intervals ignore that the sessions of a run meet in one queue; only
several seeds show the effect of that.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..simulator.record.evidence import Evidence
from .metrics_file import BASES, OURS, UNTUNED, Metrics, ratio

RESAMPLES = 1000
PERCENTILES = (2.5, 97.5)
Floats = NDArray[np.float64]
Weights = Sequence[tuple[Mapping[str, int], Floats]]
"""One entry a run: the index of each session, and how often each resample draws it, (RESAMPLES, sessions)."""


def cells_of(runs: Mapping[str, Sequence[Evidence]], seed: int) -> dict[str, Metrics]:
    """The cell of each policy from its runs: one run a workload seed, in the same order for every policy."""
    weights = _resample_weights(runs, seed)
    resampled = {policy: _resampled_metrics(own, weights) for policy, own in runs.items()}
    cells: dict[str, Metrics] = {}
    for policy, own in runs.items():
        cell = pooled(own)
        for metric, values in resampled[policy].items():
            cell |= _interval(metric, cell[metric], values)
        cells[policy] = cell
    for policy, cell in cells.items():
        for base in (*BASES, UNTUNED) if policy == OURS else BASES:
            if base in cells and base != policy:
                cell |= _ratio(base, cell, cells[base], resampled[policy], resampled[base])
    return cells


def pooled(runs: Sequence[Evidence]) -> Metrics:
    """Metrics over all runs: rates and counts are means of the runs, waits and shares are over all turns."""
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


def _resample_weights(runs: Mapping[str, Sequence[Evidence]], seed: int) -> Weights:
    weights = []
    for number, paired in enumerate(zip(*runs.values(), strict=True)):
        names = sorted({session for run in paired for session in run.sessions})
        draws = np.random.default_rng((seed, number)).multinomial(
            len(names), np.full(len(names), 1 / len(names)), size=RESAMPLES
        )
        weights.append(({name: index for index, name in enumerate(names)}, draws.astype(np.float64)))
    return weights


def _resampled_metrics(runs: Sequence[Evidence], weights: Weights) -> dict[str, Floats]:
    """The metrics that are sums over sessions, in each resample: (RESAMPLES,) each."""
    sums = np.zeros((RESAMPLES, 3))  # turns that met the SLO, turns, sessions that met the SLO
    for run, (indices, draws) in zip(runs, weights, strict=True):
        counts = np.zeros((len(indices), 3))
        sessions = np.array([indices[name] for name in run.sessions], np.intp)
        turns = sessions[np.array(run.turn_sessions, np.intp)]
        np.add.at(counts[:, 0], turns, np.array(run.in_time))
        np.add.at(counts[:, 1], turns, 1)
        counts[sessions, 2] = run.sessions_in_time
        sums += draws @ counts
    window_s = sum(run.window_s for run in runs)
    return {
        "effective_throughput": sums[:, 0] / window_s,
        "attainment": sums[:, 0] / np.maximum(sums[:, 1], 1),
        "session_effective_throughput": sums[:, 2] / window_s,
    }


def _interval(name: str, value: float, values: Floats) -> Metrics:
    low, high = np.percentile(values, PERCENTILES)
    return {f"{name}_low": min(float(low), value), f"{name}_high": max(float(high), value)}


def _ratio(
    base: str, cell: Metrics, base_cell: Metrics, resampled: Mapping[str, Floats], base_resampled: Mapping[str, Floats]
) -> Metrics:
    """Ratio of goodputs: empty where the base has none, without interval where a resample of the base has none."""
    metric = "effective_throughput"
    value = ratio(cell[metric], base_cell[metric])
    if value is None:
        return {}
    name = f"over_{base}"
    if not base_resampled[metric].all():
        return {name: value}
    return {name: value, **_interval(name, value, resampled[metric] / base_resampled[metric])}
