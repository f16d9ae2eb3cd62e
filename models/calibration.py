"""Conformal calibration: what a model's quantiles are moved by, learned on sessions that the model has not seen.

Conformal quantile regression (Romano, Patterson and Candès, 2019) moves each quantile q by the q-quantile of its errors
on held-out sessions. One offset for all would hide that one set is covered too often and another too rarely, so it is
taken by group. Serving knows no sets, so the groups are not given but learned: one shallow tree on the features splits
the held-out rows where the offsets differ most, no leaf smaller than `MIN_LEAF_ROWS`. A row without what the tree asks
for (an unknown tool, a cold start) goes where such rows went; too few rows for two leaves share one pooled offset. The
errors are cross-fitted: each session is predicted by models that were fitted without it. A probability's log odds are
moved in the same way.

A calibration is one more tree on top of the model's: it travels inside the ONNX graph, and as rules in its metadata.
"""

import numpy as np
import xgboost as xgb

from .fitting import Margins, labels, objective
from .training_set import TrainingSet

MIN_LEAF_ROWS = 150
MAX_DEPTH = 3


def fit_calibration(held_out: TrainingSet, margins: Margins, quantile: float, seed: int) -> xgb.Booster:
    """One tree of offsets to `margins`, shape (n,): what models fitted without these rows' sessions said of them."""
    probability = held_out.target.kind == "probability"
    parameters = objective(held_out.target, quantile) | {
        "base_score": 0.5 if probability else 0.0,  # no intercept: 0.5 is 0 in log odds
        "tree_method": "hist",
        "learning_rate": 1.0,
        "max_depth": min(MAX_DEPTH, int(np.log2(max(len(held_out) / MIN_LEAF_ROWS, 1)))),
        "min_child_weight": MIN_LEAF_ROWS * (0.15 if probability else 1.0),  # a row's Hessian is p(1 - p), else 1
        "reg_lambda": 0.0,
        "grow_policy": "lossguide",
        "seed": seed,
        "nthread": 1,
        "verbosity": 0,
    }
    if parameters["max_depth"] == 0:
        parameters |= {"max_depth": 1, "min_split_loss": 1e30}  # too few rows for groups: one pooled offset
    matrix = xgb.DMatrix(held_out.rows, labels(held_out), base_margin=margins, nthread=1)
    return xgb.train(parameters, matrix, num_boost_round=1, verbose_eval=False)
