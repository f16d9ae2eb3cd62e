"""Conformal calibration: what a model's quantiles are moved by, learned on sessions that the model has not seen.

Conformal quantile regression (Romano, Patterson and Candès, 2019) moves each quantile q by the q-quantile of its errors
on held-out sessions. One offset for all would hide that one set is covered too often and another too rarely, so it is
taken by group. Serving knows no sets, so the groups are not given but learned, by two trees on the features. The first
splits the held-out rows where the offsets differ most, no leaf smaller than `MIN_LEAF_ROWS`. The second finds again
which set a row is like, all sets weighing alike, and moves each set's quantiles by what they still lack. A row without
what a tree asks for (an unknown tool, a cold start) goes where such rows went; too few rows for two leaves share one
pooled offset. The errors are cross-fitted: each session is predicted by models that were fitted without it.

A probability's log odds are moved in the same way, by the first tree alone. A calibration is one or two more trees on
top of the model's: they travel inside the ONNX graph, and as rules in its metadata.
"""

from typing import Any

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from .fitting import Margins, labels, objective
from .training_set import TrainingSet

MIN_LEAF_ROWS = 150
MAX_DEPTH = 3
SET_DEPTH = 5
MIN_SET_SHARE = 0.1  # of a set's rows, which all sets have alike by weight, that a leaf of the second tree needs
_COMMON = {"learning_rate": 1.0, "reg_lambda": 0.0, "tree_method": "hist", "grow_policy": "lossguide"}


def fit_calibration(held_out: TrainingSet, margins: Margins, quantile: float, seed: int) -> xgb.Booster:
    """Trees of offsets to `margins`, shape (n,): what models fitted without these rows' sessions said of them."""
    probability = held_out.target.kind == "probability"
    parameters: dict[str, Any] = _COMMON | objective(held_out.target, quantile)
    parameters |= {
        "base_score": 0.5 if probability else 0.0,  # no intercept: 0.5 is 0 in log odds
        "max_depth": min(MAX_DEPTH, int(np.log2(max(len(held_out) / MIN_LEAF_ROWS, 1)))),
        "min_child_weight": MIN_LEAF_ROWS * (0.15 if probability else 1.0),  # a row's Hessian is p(1 - p), else 1
        "seed": seed,
        "nthread": 1,
        "verbosity": 0,
    }
    if parameters["max_depth"] == 0:
        parameters |= {"max_depth": 1, "min_split_loss": 1e30}  # too few rows for groups: one pooled offset
    matrix = xgb.DMatrix(held_out.rows, labels(held_out), base_margin=margins, nthread=1)
    groups = xgb.train(parameters, matrix, num_boost_round=1, verbose_eval=False)
    if probability or len(held_out) < 2 * MIN_LEAF_ROWS:
        return groups
    return _with_sets(groups, held_out, margins, quantile, seed)


def _with_sets(groups: xgb.Booster, held_out: TrainingSet, margins: Margins, quantile: float, seed: int) -> xgb.Booster:
    """`groups` and a second tree, fitted to what each set's quantile still lacks."""
    moved = groups.predict(xgb.DMatrix(held_out.rows, base_margin=margins, nthread=1), output_margin=True)
    lacking, weights = set_offsets(labels(held_out) - moved, held_out, quantile)
    matrix = xgb.DMatrix(held_out.rows, moved + lacking, weight=weights, base_margin=margins, nthread=1)
    parameters = _COMMON | {
        "objective": "reg:squarederror",
        "base_score": 0.0,
        "max_depth": SET_DEPTH,
        "min_child_weight": max(MIN_SET_SHARE * len(held_out) / len(np.unique(held_out.sources)), 1.0),
        "seed": seed,
        "nthread": 1,
        "verbosity": 0,
    }
    return xgb.train(parameters, matrix, num_boost_round=1, verbose_eval=False, xgb_model=groups)


def set_offsets(
    errors: NDArray[np.float32], held_out: TrainingSet, quantile: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each row its set's quantile of `errors`, and a weight (mean 1) with which all sets count alike."""
    names, index, counts = np.unique(held_out.sources, return_inverse=True, return_counts=True)
    offsets = np.empty(len(names))
    for number in range(len(names)):
        rows = index == number
        offsets[number] = np.quantile(errors[rows], quantile)
    return offsets[index], len(errors) / (len(names) * counts[index])
