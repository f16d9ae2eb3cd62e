"""One XGBoost forest: quantiles of a target on log scale, or the log odds of a probability.

The same data and settings give the same model: each fit has one thread and one seed.
"""

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from ..serving.predictor import Rows
from ..serving.target import Target
from .training_set import TrainingSet

Margins = NDArray[np.float32]
Quantiles = tuple[float, ...]

PROBABILITY_HESSIAN = 0.15
"""Typical Hessian p(1 - p) of a probability's row, which XGBoost sums for `min_child_weight`; a quantile's is 1."""


@dataclass(frozen=True, slots=True)
class FitSettings:
    """Hyper-parameters of a fit, with XGBoost's names where it has one."""

    max_rounds: int
    max_rounds_only_forest: int
    max_rounds_probability: int
    early_stopping_rounds: int
    learning_rate: float
    learning_rate_probability: float
    max_depth: int
    max_depth_shared_trees: int
    min_child_weight: float
    subsample: float
    colsample_bytree: float
    reg_lambda: float
    seed: int

    def depth_of(self, target: Target) -> int:
        return self.max_depth_shared_trees if target.shared_trees else self.max_depth

    def rounds_of(self, target: Target) -> int:
        """Limit of trees in a forest of the target."""
        if target.kind == "probability":
            return self.max_rounds_probability
        return self.max_rounds_only_forest if len(target.forests) == 1 else self.max_rounds

    def learning_rate_of(self, target: Target) -> float:
        return self.learning_rate_probability if target.kind == "probability" else self.learning_rate

    def min_child_weight_of(self, target: Target) -> float:
        """Least sum of Hessians in a leaf: the same number of rows for every target."""
        return self.min_child_weight * (PROBABILITY_HESSIAN if target.kind == "probability" else 1.0)


def labels(data: TrainingSet) -> NDArray[np.float32]:
    """Labels of a fit, shape (n,): log(max(value, floor)), or 0 and 1 for a probability."""
    if data.target.kind == "probability":
        return np.asarray(data.values, np.float32)
    return np.asarray(np.log(np.maximum(data.values, data.target.floor)), np.float32)


def objective(target: Target, quantiles: Quantiles) -> dict[str, Any]:
    """XGBoost's objective for one forest of a target; a probability ignores `quantiles`."""
    if target.kind == "probability":
        return {"objective": "binary:logistic"}
    if len(quantiles) == 1:
        return {"objective": "reg:quantileerror", "quantile_alpha": quantiles[0]}
    return {
        "objective": "reg:quantileerror",
        "quantile_alpha": list(quantiles),
        "multi_strategy": "multi_output_tree",
    }


def best_rounds(train: TrainingSet, validation: TrainingSet, quantiles: Quantiles, settings: FitSettings) -> int:
    """Number of trees with the least loss on `validation`, over all quantiles."""
    booster = xgb.train(
        _parameters(train, quantiles, settings),
        _matrix(train),
        num_boost_round=settings.rounds_of(train.target),
        evals=[(_matrix(validation), "validation")],
        early_stopping_rounds=settings.early_stopping_rounds,
        verbose_eval=False,
    )
    return int(booster.best_iteration) + 1


def fit(data: TrainingSet, quantiles: Quantiles, settings: FitSettings, rounds: int) -> xgb.Booster:
    """Fit `rounds` trees. A constant target gives a constant model."""
    return xgb.train(_parameters(data, quantiles, settings), _matrix(data), num_boost_round=rounds, verbose_eval=False)


def predict_margins(booster: xgb.Booster, rows: Rows) -> Margins:
    """Raw outputs of a booster, log of the target's unit or log odds, shape (n, outputs).

    The intercept is added last: adding hundreds of small leaves to it in float32 would lose 1e-4 of the result.
    """
    base = np.array(intercepts(booster), np.float32)
    matrix = xgb.DMatrix(rows, base_margin=np.zeros((len(rows), len(base)), np.float32), nthread=1)
    leaves = np.asarray(booster.predict(matrix, output_margin=True), np.float32)
    return np.asarray(leaves.reshape(len(rows), len(base)) + base, np.float32)


def intercepts(booster: xgb.Booster) -> list[float]:
    """The constant of each output, on the margin's scale."""
    learner = json.loads(booster.save_config())["learner"]
    text: str = learner["learner_model_param"]["base_score"]
    values = [float(part) for part in text.strip("[]").split(",")]
    if learner["objective"]["name"] == "binary:logistic":
        return [math.log(value / (1 - value)) for value in values]
    return values


def _parameters(data: TrainingSet, quantiles: Quantiles, settings: FitSettings) -> dict[str, Any]:
    return objective(data.target, quantiles) | {
        "base_score": _base_scores(data, quantiles),
        "tree_method": "hist",
        "learning_rate": settings.learning_rate_of(data.target),
        "max_depth": settings.depth_of(data.target),
        "min_child_weight": settings.min_child_weight_of(data.target),
        "subsample": settings.subsample,
        "colsample_bytree": settings.colsample_bytree,
        "reg_lambda": settings.reg_lambda,
        "seed": settings.seed,
        "nthread": 1,
        "verbosity": 0,
    }


def _base_scores(data: TrainingSet, quantiles: Quantiles) -> float | list[float]:
    """The labels' quantiles; for a probability their mean, which a constant target must not bring to 0 or 1."""
    if data.target.kind == "probability":
        return float(np.clip(np.average(labels(data), weights=data.weights), 1e-3, 1 - 1e-3))
    scores: list[float] = np.quantile(labels(data), quantiles).tolist()
    return scores if len(scores) > 1 else scores[0]


def _matrix(data: TrainingSet) -> xgb.DMatrix:
    return xgb.DMatrix(data.rows, labels(data), weight=data.weights, nthread=1)
