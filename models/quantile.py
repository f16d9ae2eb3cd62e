"""Quantile fits with XGBoost: one model a quantile, on log scale."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from .predictor import Rows
from .target import QUANTILES, Target
from .training_set import TrainingError, TrainingSet


@dataclass(frozen=True, slots=True)
class FitSettings:
    """Hyper-parameters of a fit, named as in XGBoost's documentation where it has a name."""

    max_rounds: int
    early_stopping_rounds: int
    learning_rate: float
    max_depth: int
    min_child_weight: float
    subsample: float
    colsample_bytree: float
    seed: int


@dataclass(frozen=True, slots=True)
class QuantileModels:
    """A target's boosters, in the order of QUANTILES."""

    target: Target
    boosters: tuple[xgb.Booster, ...]

    def predict(self, rows: Rows) -> NDArray[np.float32]:
        """Quantiles in the target's unit, shape (n, quantiles), floored and sorted along a row as serving does."""
        logs = np.stack([predict_log(booster, rows) for booster in self.boosters], axis=1)
        predicted = np.maximum(np.exp(logs), np.float32(self.target.floor))
        return np.sort(predicted, axis=1)

    def save(self, folder: Path) -> None:
        for name, booster in zip(self.target.model_names, self.boosters, strict=True):
            booster.save_model(folder / f"{name}.ubj")


def fit_quantile(train: TrainingSet, validation: TrainingSet, quantile: float, settings: FitSettings) -> xgb.Booster:
    """Fit one quantile of log(value); the rounds after the best one on `validation` are cut off.

    The same data and settings give the same model: one thread, one seed. A constant target gives a constant model.
    """
    parameters: dict[str, Any] = {
        "objective": "reg:quantileerror",
        "quantile_alpha": quantile,
        "tree_method": "hist",
        "learning_rate": settings.learning_rate,
        "max_depth": settings.max_depth,
        "min_child_weight": settings.min_child_weight,
        "subsample": settings.subsample,
        "colsample_bytree": settings.colsample_bytree,
        "seed": settings.seed,
        "nthread": 1,
        "verbosity": 0,
    }
    booster = xgb.train(
        parameters,
        _matrix(train),
        num_boost_round=settings.max_rounds,
        evals=[(_matrix(validation), "validation")],
        early_stopping_rounds=settings.early_stopping_rounds,
        verbose_eval=False,
    )
    return booster[: booster.best_iteration + 1]


def load_models(folder: Path, target: Target) -> QuantileModels:
    """Read a target's boosters. Raises TrainingError for a missing or unfit file."""
    return QuantileModels(target, tuple(_load(folder / f"{name}.ubj", target) for name in target.model_names))


def predict_log(booster: xgb.Booster, rows: Rows) -> NDArray[np.float32]:
    """Raw output of a booster, log of the target's unit, shape (n,).

    The intercept is added last: summing hundreds of small leaves onto it in float32 would lose 1e-4 of the result.
    """
    margin = np.zeros(len(rows), np.float32)
    leaves = np.asarray(booster.predict(xgb.DMatrix(rows, base_margin=margin, nthread=1)), np.float32)
    return leaves.reshape(-1) + np.float32(_intercept(booster))


def importance(models: QuantileModels) -> dict[str, float]:
    """Share of the median model's total gain that each feature brings, by name; features never split on are 0."""
    score = models.boosters[QUANTILES.index(0.5)].get_score(importance_type="total_gain")
    gains = {name: float(np.sum(gain)) for name, gain in score.items()}
    total = sum(gains.values()) or 1.0
    return {part.name: gains.get(f"f{index}", 0.0) / total for index, part in enumerate(models.target.features)}


def _matrix(data: TrainingSet) -> xgb.DMatrix:
    return xgb.DMatrix(data.rows, data.log_values, weight=data.weights, nthread=1)


def _intercept(booster: xgb.Booster) -> float:
    text: str = json.loads(booster.save_config())["learner"]["learner_model_param"]["base_score"]
    return float(text.strip("[]"))


def _load(path: Path, target: Target) -> xgb.Booster:
    if not path.is_file():
        raise TrainingError(f"{path}: no such file; run `dvc repro train`")
    try:
        booster = xgb.Booster(model_file=path)
    except xgb.core.XGBoostError as error:
        raise TrainingError(f"{path}: not an XGBoost model; run `dvc repro train`") from error
    if booster.num_features() != len(target.features):
        raise TrainingError(
            f"{path}: made with {booster.num_features()} features, not {len(target.features)}; run `dvc repro train`"
        )
    return booster
