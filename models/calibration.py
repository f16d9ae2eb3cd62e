"""Conformal calibration: what a model's quantiles are moved by, learned on sessions that the model has not seen.

Conformal quantile regression (Romano, Patterson and Candès, 2019) moves each quantile q by the q-quantile of its errors
on held-out sessions. One offset for all would hide that one set is covered too often and another too rarely, so it is
taken by set. Serving knows no sets: one shallow tree on the features finds again which set a row is like, all sets
weighing alike, and its leaves are the means of what these sets lack. Where all rows are of one set, the tree splits
them where the offsets differ most, no leaf smaller than `MIN_LEAF_ROWS`. A row without what the tree asks for (an
unknown tool, a cold start) goes where such rows went; too few rows for two leaves share one pooled offset. The errors
are cross-fitted: each session is predicted by models that were fitted without it.

The median is left as it is: its errors are centred by the fit already, and moving it by group made rank and error
worse in cross-fitting, above all of what is left of a session. A probability's log odds are moved as one set's are.

A calibration is one more tree on top of the model's: it travels inside the ONNX graph, and as rules in its metadata.
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
MIN_SET_SHARE = 0.1  # of a set's rows, which all sets have alike by weight, that a leaf of their tree needs
_NO_SPLIT: dict[str, Any] = {"max_depth": 1, "min_split_loss": 1e30}


def fit_calibration(held_out: TrainingSet, margins: Margins, quantile: float, seed: int) -> xgb.Booster:
    """One tree of offsets to `margins`, shape (n,): what models fitted without these rows' sessions said of them."""
    if held_out.target.kind == "quantiles":
        if quantile == 0.5:
            return _tree({"objective": "reg:squarederror"} | _NO_SPLIT, _matrix(held_out, np.zeros(len(margins))), seed)
        if len(np.unique(held_out.sources)) > 1 and len(held_out) >= 2 * MIN_LEAF_ROWS:
            return _by_set(held_out, margins, quantile, seed)
    return _by_error(held_out, margins, quantile, seed)


def _by_error(held_out: TrainingSet, margins: Margins, quantile: float, seed: int) -> xgb.Booster:
    probability = held_out.target.kind == "probability"
    parameters = objective(held_out.target, quantile) | {
        "base_score": 0.5 if probability else 0.0,  # no intercept: 0.5 is 0 in log odds
        "max_depth": min(MAX_DEPTH, int(np.log2(max(len(held_out) / MIN_LEAF_ROWS, 1)))),
        "min_child_weight": MIN_LEAF_ROWS * (0.15 if probability else 1.0),  # a row's Hessian is p(1 - p), else 1
    }
    if parameters["max_depth"] == 0:
        parameters |= _NO_SPLIT  # too few rows for groups: one pooled offset
    matrix = xgb.DMatrix(held_out.rows, labels(held_out), base_margin=margins, nthread=1)
    return _tree(parameters, matrix, seed)


def _by_set(held_out: TrainingSet, margins: Margins, quantile: float, seed: int) -> xgb.Booster:
    """Fitted to each set's quantile of the errors."""
    errors = labels(held_out) - margins
    names, index, counts = np.unique(held_out.sources, return_inverse=True, return_counts=True)
    lacking = np.array([np.quantile(errors[index == number], quantile) for number in range(len(names))])
    parameters = {
        "objective": "reg:squarederror",
        "max_depth": SET_DEPTH,
        "min_child_weight": max(MIN_SET_SHARE * len(held_out) / len(names), 1.0),
    }
    weights = len(held_out) / (len(names) * counts[index])
    return _tree(parameters, _matrix(held_out, lacking[index], weights), seed)


def _matrix(
    held_out: TrainingSet, offsets: NDArray[np.float64], weights: NDArray[np.float64] | None = None
) -> xgb.DMatrix:
    return xgb.DMatrix(held_out.rows, offsets, weight=weights, nthread=1)


def _tree(parameters: dict[str, Any], matrix: xgb.DMatrix, seed: int) -> xgb.Booster:
    common = {"base_score": 0.0, "tree_method": "hist", "grow_policy": "lossguide", "learning_rate": 1.0}
    fixed = {"reg_lambda": 0.0, "seed": seed, "nthread": 1, "verbosity": 0}
    return xgb.train(common | fixed | parameters, matrix, num_boost_round=1, verbose_eval=False)
