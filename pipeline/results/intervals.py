"""Runs of a policy pooled into one cell, with 95 % confidence intervals by a bootstrap over sessions.

A resample draws as many session trees of each run as the run has, with replacement. The turns of a tree stay together,
because they share lengths and tools. Policies that ran the same sessions share the resamples, so that the interval of
their ratio is that of paired measurements. The intervals ignore that the sessions of a run meet in one queue; only
several seeds show the effect of that.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ..simulator.record.estimates import Floats, Weights, estimates
from ..simulator.record.evidence import Evidence
from ..simulator.record.metrics import metrics_of
from ..simulator.record.samples import Samples
from .metrics_file import BASES, OURS, Metrics, ratio

RESAMPLES = 1000
PERCENTILES = (2.5, 97.5)
RATIOS = {"over": "effective_throughput", "steps_over": "steps_per_minute"}
"""Prefix of a ratio → the metric that is related to that of a base."""
Draws = Sequence[tuple[Mapping[str, int], Floats]]
"""One entry a run: the index of each session, and how often each resample draws it, (RESAMPLES, sessions)."""


def cells_of(
    runs: Mapping[str, Sequence[Evidence]],
    seed: int,
    bases: Sequence[str] = BASES,
    ratios: Mapping[str, str] = RATIOS,
) -> dict[str, Metrics]:
    """The cell of each policy from its runs: one run a workload seed, in the same order for every policy.

    `ratios`, as RATIOS, are those to each policy of `bases` that ran; AugServe's are to all policies.
    """
    samples = {policy: [run.samples for run in own] for policy, own in runs.items()}
    draws = _draws(samples, seed)
    resampled = {policy: estimates(own, _weights(own, draws)) for policy, own in samples.items()}
    cells: dict[str, Metrics] = {}
    for policy, own in samples.items():
        cell = metrics_of(own)
        for metric, values in resampled[policy].items():
            if metric in cell:
                cell |= _interval(metric, cell[metric], values)
        cells[policy] = cell
    for policy, cell in cells.items():
        for base in cells if policy == OURS else bases:
            if base in cells and base != policy:
                for name, metric in ratios.items():
                    value = ratio(cell.get(metric, 0.0), cells[base].get(metric, 0.0))
                    if value is not None and metric in cell:
                        values = _divided(resampled[policy][metric], resampled[base][metric])
                        cell |= {f"{name}_{base}": value, **_interval(f"{name}_{base}", value, values)}
    return cells


def _draws(samples: Mapping[str, Sequence[Samples]], seed: int) -> Draws:
    draws = []
    for number, paired in enumerate(zip(*samples.values(), strict=True)):
        names = sorted({session for run in paired for session in run.sessions})
        counts = np.random.default_rng((seed, number)).multinomial(
            len(names), np.full(len(names), 1 / len(names)), size=RESAMPLES
        )
        draws.append(({name: index for index, name in enumerate(names)}, counts.astype(np.float32)))
    return draws


def _weights(runs: Sequence[Samples], draws: Draws) -> Weights:
    """The draws of the sessions of each run, in its order."""
    return [
        counts[:, [indices[name] for name in run.sessions]] for run, (indices, counts) in zip(runs, draws, strict=True)
    ]


def _interval(name: str, value: float, values: Floats) -> Metrics:
    """Empty where a resample has no value."""
    low, high = np.percentile(values, PERCENTILES)
    if math.isnan(low) or math.isnan(high):
        return {}
    return {f"{name}_low": min(float(low), value), f"{name}_high": max(float(high), value)}


def _divided(values: Floats, base: Floats) -> Floats:
    ratios: Floats = np.divide(values, base, out=np.full(values.shape, np.nan), where=base > 0)
    return ratios
