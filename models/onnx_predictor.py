"""Prediction with ONNX Runtime: all that serving needs of the trained models."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnxruntime as ort

from ..features import feature
from .predictor import Rows, TurnPredictions
from .target import (
    OUTPUT_LENGTH,
    QUANTILE_TARGETS,
    QUANTILES,
    SESSION_REMAINING,
    SESSION_REMAINING_TOKENS,
    TOOL_DURATION,
    Target,
)

TARGET_KEY = "augserve.target"
QUANTILE_KEY = "augserve.quantile"
FEATURES_KEY = "augserve.features"  # a JSON list of names, in the columns' order
VERSION_KEY = "augserve.features_version"
LOG_CEILING = 20.0  # no prediction above e^20: keeps exp finite whatever a model says


class PredictorError(ValueError):
    """A model file is unusable, or rows do not fit it; the message names the model, the cause and the remedy."""


def model_files() -> tuple[str, ...]:
    """The file names of all targets and quantiles."""
    return tuple(f"{name}.onnx" for target in QUANTILE_TARGETS for name in target.model_names)


class OnnxPredictor:
    """Implements `Predictor`: one model a target and quantile, run on the calling thread."""

    def __init__(self, models: Mapping[str, bytes]) -> None:
        """Take each model's bytes by its file name. Raises PredictorError where one is missing or unfit."""
        self._models = {target.name: _QuantileModels(target, models) for target in QUANTILE_TARGETS}

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the models of a folder. Raises PredictorError for a missing file or an unfit model."""
        try:
            return cls({name: (folder / name).read_bytes() for name in model_files()})
        except OSError as error:
            raise PredictorError(f"{error.filename}: {error.strerror}; run `dvc repro export`") from error

    def turns(self, rows: Rows) -> TurnPredictions:
        predict = {name: models.predict for name, models in self._models.items()}
        return TurnPredictions(
            predict[OUTPUT_LENGTH.name](rows),
            predict[SESSION_REMAINING.name](rows),
            predict[SESSION_REMAINING_TOKENS.name](rows),
            np.full(len(rows), np.nan, np.float32),
        )

    def tool_duration(self, rows: Rows) -> Rows:
        return self._models[TOOL_DURATION.name].predict(rows)


class _QuantileModels:
    """One target's models, in the order of QUANTILES."""

    def __init__(self, target: Target, models: Mapping[str, bytes]) -> None:
        self._target = target
        self._log_floor = math.log(target.floor)
        self._sessions = [_open(target, quantile, models) for quantile in QUANTILES]
        self._inputs = [session.get_inputs()[0].name for session in self._sessions]

    def predict(self, rows: Rows) -> Rows:
        """Quantiles in the target's unit: sorted along a row, so that they never cross."""
        target = self._target
        if rows.ndim != 2 or rows.shape[1] != len(target.features):
            raise PredictorError(f"{target.name}: rows of shape {rows.shape}, expected (n, {len(target.features)})")
        result = np.empty((rows.shape[0], len(QUANTILES)), np.float32)
        if not rows.shape[0]:
            return result
        rows = np.ascontiguousarray(rows, np.float32)
        for column, (session, name) in enumerate(zip(self._sessions, self._inputs, strict=True)):
            result[:, column] = session.run(None, {name: rows})[0].reshape(-1)
        np.clip(result, self._log_floor, LOG_CEILING, out=result)
        np.exp(result, out=result)
        np.maximum(result, target.floor, out=result)
        result.sort(axis=1)
        return result


def _open(target: Target, quantile: float, models: Mapping[str, bytes]) -> Any:
    name = f"{target.model_names[QUANTILES.index(quantile)]}.onnx"
    if name not in models:
        raise PredictorError(f"{name}: this model is missing; run `dvc repro export`")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # a bad model is raised, once, not also logged
    try:
        session = ort.InferenceSession(models[name], options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own errors share no public base
        cause = " ".join(str(error).split())[:200]
        raise PredictorError(f"{name}: not a usable ONNX model: {cause}; export it again") from error
    _check_metadata(name, target, quantile, session)
    return session


def _check_metadata(name: str, target: Target, quantile: float, session: Any) -> None:
    found = session.get_modelmeta().custom_metadata_map
    expected = {TARGET_KEY: target.name, QUANTILE_KEY: str(quantile), VERSION_KEY: str(feature.VERSION)}
    for key, value in expected.items():
        if found.get(key) != value:
            what = key.removeprefix("augserve.")
            raise PredictorError(
                f"{name}: its {what} is {found.get(key)!r}, expected {value!r}; retrain with this release"
            )
    names = json.dumps([part.name for part in target.features])
    if found.get(FEATURES_KEY) != names:
        raise PredictorError(f"{name}: made with other features than this release computes; retrain with this release")
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1 or inputs[0].shape[-1] != len(target.features):
        raise PredictorError(
            f"{name}: takes {inputs[0].shape if inputs else None}, not (n, {len(target.features)}); export it again"
        )
