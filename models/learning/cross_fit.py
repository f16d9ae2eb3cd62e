"""From a training table to calibrated models.

For each forest:

1. A fit on the train part, stopped early by the validation part, gives the number of trees.
2. The sessions of both parts are cross-fitted: each row is predicted by a forest that has not seen its session.
3. These held-out predictions calibrate the models (calibration.py).
4. The final forest is fitted on both parts.

The test part is never used. A table may have further rows that show some calls again with an unknown tool. All of
these calibrate, in the folds of their sessions, as sets of their own. The forests learn from a share of them: with no
share, an unknown tool is predicted like whichever tools it resembles; with all, the known tools lose accuracy.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from ...data.tables.splits import position
from .calibration import calibrate, calibrate_with_unknown_tools
from .censoring import impute
from .forest import FitSettings, Margins, Quantiles, best_rounds, fit, predict_margins
from .target_models import TargetModels
from .training_set import TrainingError, TrainingSet

FOLDS = 4
UNKNOWN_SHARE = 0.2  # of the rows of unknown tools, drawn by the seed, that the forests learn from


@dataclass(frozen=True, slots=True)
class Learned:
    """A target's models, with the cross-fitted predictions of its training rows."""

    models: TargetModels
    training: TrainingSet  # rows of the train and validation parts, censored values imputed
    held_out: Margins  # (n, models): raw outputs, before calibration, of models that have not seen the row's session


def learn(
    sets: Iterable[TrainingSet],
    settings: FitSettings,
    done: Callable[[], object] = lambda: None,
    unknown: TrainingSet | None = None,
) -> list[Learned]:
    """Learn every set's target. `done` is called after each forest. `unknown`: further rows of its target, with tools
    never seen.

    Each forest has one thread, and all processors work at once: the result does not depend on their number.
    Raises TrainingError for an empty part of the split.
    """
    tables = [impute(_train_and_validation(data), settings.seed) for data in sets]
    if unknown is not None:
        learnable = unknown.parts != "test"
        unknown = impute(unknown.select(learnable), settings.seed) if learnable.any() else None
    further = [unknown if unknown is not None and unknown.target is table.target else None for table in tables]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [
            [pool.submit(_forest, table, more, quantiles, settings, done) for quantiles in table.target.forests]
            for table, more in zip(tables, further, strict=True)
        ]
        forests = [[job.result() for job in of_target] for of_target in jobs]
        margins = [np.concatenate([margin for _, margin in of_target], axis=1) for of_target in forests]
        calibrations = pool.map(
            lambda table, more, margin: _calibrations(table, more, margin, settings.seed), tables, further, margins
        )
    return [
        Learned(TargetModels(table.target, tuple(tree for tree, _ in of_target), trees), table, margin[: len(table)])
        for table, of_target, trees, margin in zip(tables, forests, calibrations, margins, strict=True)
    ]


def _train_and_validation(data: TrainingSet) -> TrainingSet:
    for part in ("train", "validation", "test"):
        data.part(part)  # raises if it is empty
    return data.select(data.parts != "test")


def _forest(
    table: TrainingSet,
    more: TrainingSet | None,
    quantiles: Quantiles,
    settings: FitSettings,
    done: Callable[[], object],
) -> tuple[xgb.Booster, Margins]:
    """The forest, and the cross-fitted margins of the rows of `table`, then of `more`."""
    every = table if more is None else table.joined(more)
    fitted_on = np.random.default_rng(settings.seed).random(len(every)) < UNKNOWN_SHARE
    fitted_on[: len(table)] = True
    data = every.select(fitted_on)
    rounds = best_rounds(data.part("train"), data.part("validation"), quantiles, settings)
    margins = cross_fit(every, quantiles, settings, rounds, fitted_on)
    booster = fit(data, quantiles, settings, rounds)
    done()
    return booster, margins


def _calibrations(table: TrainingSet, more: TrainingSet | None, margins: Margins, seed: int) -> tuple[xgb.Booster, ...]:
    if more is None:
        return calibrate(table, margins, seed)
    return calibrate_with_unknown_tools(table, more, margins, seed)


def cross_fit(
    data: TrainingSet,
    quantiles: Quantiles,
    settings: FitSettings,
    rounds: int,
    fitted_on: NDArray[np.bool_] | None = None,
) -> Margins:
    """Raw outputs, shape (n, outputs), each by a forest fitted without the row's fold of sessions.

    `fitted_on`, shape (n,): the rows that a fit may use; None: all.
    """
    folds = session_folds(data)
    margins = np.empty((len(data), len(quantiles)), np.float32)
    for fold in np.unique(folds).tolist():
        held_out = folds == fold
        if held_out.all():
            raise TrainingError(f"{data.target.name}: a single session to learn from; gather more")
        others = ~held_out if fitted_on is None else fitted_on & ~held_out
        forest = fit(data.select(others), quantiles, settings, rounds)
        margins[held_out] = predict_margins(forest, data.rows[held_out])
    return margins


def session_folds(data: TrainingSet, salt: str = "fold: ") -> NDArray[np.int64]:
    """A fold of each row, shape (n,): the same for all rows of a session, and balanced within each source.

    Another `salt` deals the sessions out in another order.
    """
    folds = np.empty(len(data), np.int64)
    for source in np.unique(data.sources).tolist():
        rows = data.sources == source
        sessions, index = np.unique(data.sessions[rows], return_inverse=True)
        order = np.argsort([position(session, salt) for session in sessions.tolist()])
        fold = np.empty(len(sessions), np.int64)
        fold[order] = np.arange(len(sessions)) % FOLDS
        folds[rows] = fold[index]
    return folds
