"""Imputation of censored values, which are only lower bounds: outputs cut at their limit, sessions still open.

Dropping these rows, or learning the bound as the value, would bias the models towards short outputs. Pinball loss only
needs to know on which side of a quantile a value lies. So each censored value is redrawn beyond its bound, from the
Kaplan-Meier estimate (1958) of its source's and group's values: redistribution to the right (Efron, 1967). A bound
above all complete values becomes twice the bound. Test metrics use complete values only.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from .training_set import TrainingSet

Values = NDArray[np.float64]
MIN_GROUP_ROWS = 50  # a smaller group takes the estimate of its whole source
BEYOND = 2.0


def impute(data: TrainingSet, seed: int) -> TrainingSet:
    """The set with every censored value moved beyond its bound; rows of a probability stay as they are."""
    if not data.censored.any() or data.target.kind == "probability":
        return data
    draw = np.random.default_rng(seed).random(len(data))
    values = data.values.copy()
    for source in np.unique(data.sources[data.censored]).tolist():
        of_source = data.sources == source
        for group in np.unique(data.groups[of_source & data.censored]).tolist():
            of_group = of_source & (data.groups == group)
            reference = of_group if np.count_nonzero(of_group) >= MIN_GROUP_ROWS else of_source
            moved = of_group & data.censored
            values[moved] = beyond(data.values[reference], data.censored[reference], data.values[moved], draw[moved])
    return dataclasses.replace(data, values=values, censored=np.zeros(len(data), np.bool_))


def beyond(values: Values, censored: NDArray[np.bool_], bounds: Values, draw: Values) -> Values:
    """Values drawn from the Kaplan-Meier estimate of (`values`, `censored`), each given that it exceeds its bound.

    `bounds`, `draw` (uniform in [0, 1)) and the result have one shape.
    """
    times, survival = kaplan_meier(values, censored)
    at_bound = np.concatenate(([1.0], survival))[np.searchsorted(times, bounds, side="right")]
    index = np.searchsorted(-survival, -at_bound * (1 - draw), side="left")  # first time with that survival or less
    longer = np.append(times, np.inf)[index]
    return np.where(np.isfinite(longer) & (longer > bounds), longer, np.maximum(bounds, 1e-9) * BEYOND)


def kaplan_meier(values: Values, censored: NDArray[np.bool_]) -> tuple[Values, Values]:
    """Distinct complete values in ascending order, and the share that survives beyond each; shapes (k,)."""
    times, ended = np.unique(values[~censored], return_counts=True)
    ordered = np.sort(values)
    at_risk = len(ordered) - np.searchsorted(ordered, times, side="left")
    return times, np.cumprod(1 - ended / np.maximum(at_risk, 1))
