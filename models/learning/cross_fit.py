"""From a training table to calibrated models: rounds, cross-fitting, calibration, and a last fit on all that is known.

For each forest: (1) the number of trees is what a fit on the train part needs until the validation part no longer
gains; (2) with that number the sessions of both parts are cross-fitted in folds, so that every row is predicted by a
model that has not seen its session; (3) these held-out predictions calibrate (calibration.py); (4) the model
that is kept is fitted on both parts. The test part takes no part in any of it.

A table may have further rows of its sessions: the calls of some as if of tools never seen. All of them calibrate, in
the folds of their sessions, as sets of their own (calibration.py). The forests learn from a part of them: from
none, they know no better than the tools that an unknown one happens to resemble; from all, they have less room for the
tools that are known.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from ...data.tables.splits import position
from .calibration import calibrate, calibrate_with_unknown_tools
from .censoring import impute
from .forest import FitSettings, Margins, Quantiles, best_rounds, fit, predict_margins
from .target_models import FittedModels
from .training_set import TrainingError, TrainingSet

FOLDS = 4
UNKNOWN_SHARE = 0.2  # of the rows of unknown tools that the forests learn from, drawn by the seed


@dataclass(frozen=True, slots=True)
class Learned:
    """A target's models, and what cross-fitting said of the learned sessions before calibration."""

    models: FittedModels
    known: TrainingSet  # rows of the train and validation parts, censored values imputed
    held_out: Margins  # (n, models): raw outputs of models that had not seen the row's session


def learn(
    sets: Iterable[TrainingSet],
    settings: FitSettings,
    done: Callable[[], object] = lambda: None,
    unknown: TrainingSet | None = None,
) -> list[Learned]:
    """Learn every set's target; `done` is called after each forest. `unknown`: further rows of its target, of tools
    never seen.

    One thread a forest, as many at once as there are processors: the result does not depend on their number.
    Raises TrainingError where a part of the split is empty.
    """
    tables = [impute(_parts(data), settings.seed) for data in sets]
    more = _learned_rows(unknown, settings)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        started = [
            [
                pool.submit(_forest, known, _of(known, more), quantiles, settings, done)
                for quantiles in known.target.forests
            ]
            for known in tables
        ]
        found = [[future.result() for future in futures] for futures in started]
        calibrated = [
            pool.submit(_calibrations, known, _of(known, more), _margins(forests), settings)
            for known, forests in zip(tables, found, strict=True)
        ]
    return [
        Learned(
            FittedModels(known.target, tuple(booster for booster, _ in forests), calibrations.result()),
            known,
            _margins(forests)[: len(known)],
        )
        for known, forests, calibrations in zip(tables, found, calibrated, strict=True)
    ]


def _parts(data: TrainingSet) -> TrainingSet:
    for part in ("train", "validation", "test"):
        data.part(part)  # raises where there is none
    return data.select(data.parts != "test")


def _learned_rows(unknown: TrainingSet | None, settings: FitSettings) -> TrainingSet | None:
    if unknown is None or not (kept := unknown.parts != "test").any():
        return None
    return impute(unknown.select(kept), settings.seed)


def _of(known: TrainingSet, more: TrainingSet | None) -> TrainingSet | None:
    return more if more is not None and more.target is known.target else None


def _forest(
    known: TrainingSet,
    more: TrainingSet | None,
    quantiles: Quantiles,
    settings: FitSettings,
    done: Callable[[], object],
) -> tuple[xgb.Booster, Margins]:
    """The forest, and the margins of the rows of `known`, then of `more`."""
    every = known if more is None else known.joined(more)
    taken = np.random.default_rng(settings.seed).random(len(every)) < UNKNOWN_SHARE
    taken[: len(known)] = True
    learned = every.select(taken)
    rounds = best_rounds(learned.part("train"), learned.part("validation"), quantiles, settings)
    margins = cross_fit(every, quantiles, settings, rounds, taken)
    booster = fit(learned, quantiles, settings, rounds)
    done()
    return booster, margins


def _margins(forests: Sequence[tuple[xgb.Booster, Margins]]) -> Margins:
    return np.concatenate([margins for _, margins in forests], axis=1)


def _calibrations(
    known: TrainingSet, more: TrainingSet | None, margins: Margins, settings: FitSettings
) -> tuple[xgb.Booster, ...]:
    if more is not None:
        return calibrate_with_unknown_tools(known, more, margins, settings.seed)
    return calibrate(known, margins, settings.seed)


def cross_fit(
    known: TrainingSet,
    quantiles: Quantiles,
    settings: FitSettings,
    rounds: int,
    taken: NDArray[np.bool_] | None = None,
) -> Margins:
    """Raw outputs, shape (n, outputs), each by a forest that was fitted without the row's fold of sessions. `taken`,
    shape (n,): the rows that may be fitted on; None: all."""
    folds = session_folds(known)
    margins = np.empty((len(known), len(quantiles)), np.float32)
    for fold in range(FOLDS):
        held_out = folds == fold
        if held_out.any():
            if held_out.all():
                raise TrainingError(f"{known.target.name}: a single session to learn from; gather more")
            others = ~held_out if taken is None else taken & ~held_out
            forest = fit(known.select(others), quantiles, settings, rounds)
            margins[held_out] = predict_margins(forest, known.rows[held_out])
    return margins


def session_folds(data: TrainingSet, salt: str = "fold: ") -> NDArray[np.int64]:
    """A fold for each row, the same for all rows of a session; every fold has its share of every source. Another
    `salt` deals the sessions out anew."""
    folds = np.empty(len(data), np.int64)
    for source in np.unique(data.sources).tolist():
        rows = data.sources == source
        sessions, index = np.unique(data.sessions[rows], return_inverse=True)
        order = np.argsort([position(session, salt) for session in sessions.tolist()])
        fold = np.empty(len(sessions), np.int64)
        fold[order] = np.arange(len(sessions)) % FOLDS
        folds[rows] = fold[index]
    return folds
