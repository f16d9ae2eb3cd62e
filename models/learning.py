"""From a training table to calibrated models: rounds, cross-fitting, calibration, and a last fit on all that is known.

For each model: (1) the number of trees is what a fit on the train part needs until the validation part no longer gains;
(2) with that number the sessions of both parts are cross-fitted in folds, so that every row is predicted by a model
that has not seen its session; (3) these held-out predictions calibrate (models/calibration.py); (4) the model that is
kept is fitted on both parts. The test part takes no part in any of it.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from ..data.splits import position
from .calibration import fit_calibration
from .censoring import impute
from .fitted import FittedModels
from .fitting import FitSettings, Margins, best_rounds, fit, predict_margin
from .target import QUANTILES, Target
from .training_set import TrainingError, TrainingSet

FOLDS = 4
_HALF = 0.5  # stands in where a target has no quantiles


@dataclass(frozen=True, slots=True)
class Learned:
    """A target's models, and what cross-fitting said of the learned sessions before calibration."""

    models: FittedModels
    known: TrainingSet  # rows of the train and validation parts, censored values imputed
    held_out: Margins  # (n, models): raw outputs of models that had not seen the row's session


def learn(
    sets: Iterable[TrainingSet], settings: FitSettings, done: Callable[[], object] = lambda: None
) -> list[Learned]:
    """Learn every set's target; `done` is called after each model.

    One thread a model, as many models at once as there are processors: the result does not depend on their number.
    Raises TrainingError where a part of the split is empty.
    """
    tables = [(data, impute(_parts(data), settings.seed)) for data in sets]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        started = [
            [pool.submit(_model, known, quantile, settings, done) for quantile in levels(known.target)]
            for _, known in tables
        ]
        results = [[future.result() for future in futures] for futures in started]
    return [
        Learned(
            FittedModels(known.target, tuple(one[0] for one in models), tuple(one[1] for one in models)),
            known,
            np.stack([one[2] for one in models], axis=1),
        )
        for (_, known), models in zip(tables, results, strict=True)
    ]


def levels(target: Target) -> tuple[float, ...]:
    """The quantile of each of the target's models."""
    return QUANTILES if target.kind == "quantiles" else (_HALF,)


def _parts(data: TrainingSet) -> TrainingSet:
    for part in ("train", "validation", "test"):
        data.part(part)  # raises where there is none
    return data.select(data.parts != "test")


def _model(
    known: TrainingSet, quantile: float, settings: FitSettings, done: Callable[[], object]
) -> tuple[xgb.Booster, xgb.Booster, Margins]:
    rounds = best_rounds(known.part("train"), known.part("validation"), quantile, settings)
    margins = cross_fit(known, quantile, settings, rounds)
    calibration = fit_calibration(known, margins, quantile, settings.seed)
    booster = fit(known, quantile, settings, rounds)
    done()
    return booster, calibration, margins


def cross_fit(known: TrainingSet, quantile: float, settings: FitSettings, rounds: int) -> Margins:
    """Raw outputs, shape (n,), each by a model that was fitted without the row's fold of sessions."""
    folds = session_folds(known)
    margins = np.empty(len(known), np.float32)
    for fold in range(FOLDS):
        held_out = folds == fold
        if held_out.any():
            if held_out.all():
                raise TrainingError(f"{known.target.name}: a single session to learn from; gather more")
            margins[held_out] = predict_margin(
                fit(known.select(~held_out), quantile, settings, rounds), known.rows[held_out]
            )
    return margins


def session_folds(data: TrainingSet) -> NDArray[np.int64]:
    """A fold for each row, the same for all rows of a session; every fold has its share of every source."""
    folds = np.empty(len(data), np.int64)
    for source in np.unique(data.sources).tolist():
        rows = data.sources == source
        sessions, index = np.unique(data.sessions[rows], return_inverse=True)
        order = np.argsort([position(session, "fold: ") for session in sessions.tolist()])
        fold = np.empty(len(sessions), np.int64)
        fold[order] = np.arange(len(sessions)) % FOLDS
        folds[rows] = fold[index]
    return folds
