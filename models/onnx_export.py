"""XGBoost → ONNX, with what a model is in its metadata, and the proof that both say the same."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxmltools
import xgboost as xgb
from onnxmltools.convert.common.data_types import FloatTensorType

from ..features import feature
from .onnx_predictor import FEATURES_KEY, QUANTILE_KEY, TARGET_KEY, VERSION_KEY, OnnxPredictor
from .predictor import Rows
from .quantile import QuantileModels
from .target import QUANTILES, TOOL_DURATION, Target

TRAINING_KEY = "augserve.training"
_OPSET = 15
_EXTREMES = (0.0, -1.0, 1.0, 1e9, -1e9, float(np.finfo(np.float32).max), float(np.finfo(np.float32).tiny))


class ExportError(ValueError):
    """An exported model is not the same as the trained one; the message names the model and the difference."""


def export_models(models: QuantileModels, folder: Path, training: Mapping[str, Any]) -> None:
    """Write one ONNX file a quantile into `folder`: one model each, for a multi-quantile export is silently wrong."""
    for name, quantile, booster in zip(models.target.model_names, QUANTILES, models.boosters, strict=True):
        content = to_onnx(booster, models.target, quantile, training)
        (folder / f"{name}.onnx").write_bytes(content)


def to_onnx(booster: xgb.Booster, target: Target, quantile: float, training: Mapping[str, Any]) -> bytes:
    """A booster as ONNX: input (n, features) float32, output (n, 1) log of the target's unit."""
    kind = FloatTensorType([None, len(target.features)])
    model = onnxmltools.convert_xgboost(
        booster, target.model_names[QUANTILES.index(quantile)], [("rows", kind)], target_opset=_OPSET
    )
    metadata = {
        TARGET_KEY: target.name,
        QUANTILE_KEY: str(quantile),
        VERSION_KEY: str(feature.VERSION),
        FEATURES_KEY: json.dumps([part.name for part in target.features]),
        TRAINING_KEY: json.dumps(training, sort_keys=True),
    }
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    return bytes(model.SerializeToString(deterministic=True))


def check_parity(models: QuantileModels, exported: OnnxPredictor, rows: Rows, tolerance: float) -> float:
    """Largest relative difference between XGBoost's and ONNX Runtime's predictions over `rows`.

    Raises ExportError where it exceeds `tolerance`.
    """
    expected = models.predict(rows).astype(np.float64)
    if models.target is TOOL_DURATION:
        predicted = exported.tool_duration(rows)
    else:
        predicted = getattr(exported.turns(rows), models.target.name)
    worst = np.max(np.abs(predicted - expected) / expected, axis=0, initial=0.0)
    if not np.all(worst <= tolerance):
        column = int(np.argmax(worst))
        name, difference = models.target.model_names[column], worst[column]
        raise ExportError(
            f"{name}: ONNX and XGBoost differ by {difference:.1e} (relative), more than {tolerance:.0e}; "
            "this pair of onnxmltools and xgboost is not usable, install the locked versions"
        )
    return float(worst.max())


def hard_rows(rows: Rows, seed: int) -> Rows:
    """`rows`; the same with NaN at random places; the same with extreme values at random places; a row of NaN."""
    generator = np.random.default_rng(seed)
    missing = np.where(generator.random(rows.shape) < 0.3, np.float32(np.nan), rows)
    chosen = generator.choice(np.array(_EXTREMES, np.float32), rows.shape)
    extreme = np.where(generator.random(rows.shape) < 0.3, chosen, rows)
    unknown = np.full((1, rows.shape[1]), np.nan)
    return np.concatenate((rows, missing, extreme, unknown), dtype=np.float32)
