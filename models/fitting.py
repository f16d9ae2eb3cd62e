"""One XGBoost model: a quantile of a target on log scale, or a probability's log odds.

The same data and settings give the same model: one thread a fit, one seed.
"""

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from .predictor import Rows
from .target import TOOL_DURATION, Target
from .training_set import TrainingSet

Margins = NDArray[np.float32]
NO_MARGIN = np.float32(0.0)


@dataclass(frozen=True, slots=True)
class FitSettings:
    """Hyper-parameters of a fit, named as in XGBoost's documentation where it has a name."""

    max_rounds: int
    max_rounds_tool_duration: int
    early_stopping_rounds: int
    learning_rate: float
    max_depth: int
    min_child_weight: float
    subsample: float
    colsample_bytree: float
    reg_lambda: float
    seed: int

    def rounds_of(self, target: Target) -> int:
        """Trees that a model of the target may have: those of a call's duration, alone in their graph, may be more."""
        return self.max_rounds_tool_duration if target is TOOL_DURATION else self.max_rounds


def labels(data: TrainingSet) -> NDArray[np.float32]:
    """What a model of the target learns: log(max(value, floor)), or 0 and 1 for a probability."""
    if data.target.kind == "probability":
        return np.asarray(data.values, np.float32)
    return data.log_values


def objective(target: Target, quantile: float) -> dict[str, Any]:
    """XGBoost's parameters for one model of a target; `quantile` counts only where the target has quantiles."""
    if target.kind == "probability":
        return {"objective": "binary:logistic"}
    return {"objective": "reg:quantileerror", "quantile_alpha": quantile}


def best_rounds(train: TrainingSet, validation: TrainingSet, quantile: float, settings: FitSettings) -> int:
    """Boosting rounds after which the loss on `validation` is least."""
    booster = xgb.train(
        _parameters(train, quantile, settings),
        _matrix(train),
        num_boost_round=settings.rounds_of(train.target),
        evals=[(_matrix(validation), "validation")],
        early_stopping_rounds=settings.early_stopping_rounds,
        verbose_eval=False,
    )
    return int(booster.best_iteration) + 1


def fit(data: TrainingSet, quantile: float, settings: FitSettings, rounds: int) -> xgb.Booster:
    """Fit `rounds` trees. A constant target gives a constant model."""
    return xgb.train(_parameters(data, quantile, settings), _matrix(data), num_boost_round=rounds, verbose_eval=False)


def predict_margin(booster: xgb.Booster, rows: Rows) -> Margins:
    """Raw output of a booster, log of the target's unit or log odds, shape (n,).

    The intercept is added last: summing hundreds of small leaves onto it in float32 would lose 1e-4 of the result.
    """
    margin = np.zeros(len(rows), np.float32)
    matrix = xgb.DMatrix(rows, base_margin=margin, nthread=1)
    leaves = np.asarray(booster.predict(matrix, output_margin=True), np.float32)
    return leaves.reshape(-1) + np.float32(intercept(booster))


def intercept(booster: xgb.Booster) -> float:
    """The constant that the trees' sum is added to, on the margin's scale."""
    learner = json.loads(booster.save_config())["learner"]
    text: str = learner["learner_model_param"]["base_score"]
    value = float(text.strip("[]"))
    if learner["objective"]["name"] == "binary:logistic":
        return math.log(value / (1 - value))
    return value


def _parameters(data: TrainingSet, quantile: float, settings: FitSettings) -> dict[str, Any]:
    return objective(data.target, quantile) | {
        "base_score": _base_score(data, quantile),
        "tree_method": "hist",
        "learning_rate": settings.learning_rate,
        "max_depth": settings.max_depth,
        "min_child_weight": settings.min_child_weight,
        "subsample": settings.subsample,
        "colsample_bytree": settings.colsample_bytree,
        "reg_lambda": settings.reg_lambda,
        "seed": settings.seed,
        "nthread": 1,
        "verbosity": 0,
    }


def _base_score(data: TrainingSet, quantile: float) -> float:
    """The quantile of all labels; for a probability their mean, kept off 0 and 1 (a constant target)."""
    if data.target.kind == "probability":
        return float(np.clip(np.average(labels(data), weights=data.weights), 1e-3, 1 - 1e-3))
    return float(np.quantile(labels(data), quantile))


def _matrix(data: TrainingSet) -> xgb.DMatrix:
    return xgb.DMatrix(data.rows, labels(data), weight=data.weights, nthread=1)
