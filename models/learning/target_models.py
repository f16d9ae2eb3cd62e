"""A target's trained and calibrated models: train saves them, export translates them, reports judge them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from ..serving.predictor import Rows
from ..serving.target import LOG_CEILING, QUANTILES, Target
from .forest import Margins, predict_margins
from .training_set import TrainingError


@dataclass(frozen=True, slots=True)
class TargetModels:
    """One booster per forest of the target, and one booster of one or two trees that calibrates each model."""

    target: Target
    boosters: tuple[xgb.Booster, ...]
    calibrations: tuple[xgb.Booster, ...]

    def margins(self, rows: Rows) -> Margins:
        """Calibrated raw outputs, shape (n, models)."""
        raw = np.concatenate([predict_margins(booster, rows) for booster in self.boosters], axis=1)
        offsets = np.concatenate([predict_margins(tree, rows) for tree in self.calibrations], axis=1)
        return np.asarray(raw + offsets, np.float32)

    def predict(self, rows: Rows) -> NDArray[np.float32]:
        """(n, quantiles) in the target's unit, floored and sorted along a row; or (n,) probabilities. As in serving."""
        return from_margins(self.target, self.margins(rows))

    def save(self, folder: Path) -> None:
        for name, booster in zip(self.target.forest_names, self.boosters, strict=True):
            booster.save_model(folder / f"{name}.ubj")
        for name, calibration in zip(self.target.model_names, self.calibrations, strict=True):
            calibration.save_model(folder / f"{name}.calibration.ubj")

    def offsets(self) -> dict[str, list[Any]]:
        """The calibration of each model as nested rules on features; the sum over its trees' leaves is the offset."""
        names = [part.name for part in self.target.features]
        return {
            name: [_rules(json.loads(tree), names) for tree in calibration.get_dump(dump_format="json")]
            for name, calibration in zip(self.target.model_names, self.calibrations, strict=True)
        }


def from_margins(target: Target, margins: Margins) -> NDArray[np.float32]:
    """Serving's predictions from raw outputs of shape (n, models)."""
    if target.kind == "probability":
        return np.asarray(1 / (1 + np.exp(-margins[:, 0])), np.float32)
    predicted = np.exp(np.clip(margins, np.log(target.floor), LOG_CEILING))
    return np.sort(np.maximum(predicted, np.float32(target.floor)), axis=1)


def load_models(folder: Path, target: Target) -> TargetModels:
    """Read a target's boosters. Raises TrainingError for a missing or unfit file."""
    return TargetModels(
        target,
        tuple(_load(folder / f"{name}.ubj", target) for name in target.forest_names),
        tuple(_load(folder / f"{name}.calibration.ubj", target) for name in target.model_names),
    )


def importance(models: TargetModels) -> dict[str, float]:
    """Share of each feature in the total gain of the median's (or only) forest; unused features have 0."""
    middle = models.boosters[QUANTILES.index(0.5) if len(models.boosters) > 1 else 0]
    score = middle.get_score(importance_type="total_gain")
    gains = {name: float(np.sum(gain)) for name, gain in score.items()}
    total = sum(gains.values()) or 1.0
    return {part.name: gains.get(f"f{index}", 0.0) / total for index, part in enumerate(models.target.features)}


def _rules(node: dict[str, Any], names: list[str]) -> Any:
    if "leaf" in node:
        return round(float(node["leaf"]), 6)
    children = {child["nodeid"]: child for child in node["children"]}
    rule = f"{names[int(node['split'][1:])]} < {node['split_condition']:.6g}"
    yes = rule + " or missing" * (node["missing"] == node["yes"])
    no = "else" + " or missing" * (node["missing"] == node["no"])
    return {yes: _rules(children[node["yes"]], names), no: _rules(children[node["no"]], names)}


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
