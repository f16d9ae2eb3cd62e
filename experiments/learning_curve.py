"""Limits of the predictors: `python -m experiments.learning_curve` after `dvc repro prepare`. It takes minutes.

Writes reports/train/learning_curve.csv (fewer sessions), transfer.csv (models of one set alone) and upper.csv (far
larger models), all on the held-out sessions. coverage.csv uses all sessions: the few held-out sessions of one set would
move the coverage of an interval by several points. None of these models is deployed.
"""

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from augserve.data.tables.splits import position
from augserve.models.learning.cross_fit import FOLDS, Learned, learn, session_folds
from augserve.models.learning.evaluation import evaluate, quantile_metrics
from augserve.models.learning.forest import FitSettings
from augserve.models.learning.training_set import (
    TrainingError,
    TrainingSet,
    read_training_sets,
    read_unknown_tools,
)
from augserve.models.serving.target import QUANTILE_TARGETS, QUANTILES, TOOL_DURATION
from augserve.pipeline.project import paths
from augserve.pipeline.project.stage import run_stage
from augserve.pipeline.train.reports import write_csv
from augserve.pipeline.train.run import fit_settings

logger = logging.getLogger(__name__)

SHARES = (0.125, 0.25, 0.5, 1.0)  # of the sessions of the train and validation parts
UPPER: dict[str, Any] = {
    "max_rounds": 400,
    "max_rounds_only_forest": 400,
    "max_rounds_probability": 400,
    "early_stopping_rounds": 30,
    "learning_rate": 0.05,
    "learning_rate_probability": 0.05,
    "max_depth": 8,
    "max_depth_shared_trees": 8,
    "min_child_weight": 10.0,
}
"""Settings of the upper reference: models many times larger than the deployed ones."""
COVERAGE = ("rows", "sessions", "coverage_80", "coverage_80_low", "coverage_80_high")
QUALITY = ("kendall_tau", "mae", "median_ratio", "pinball_p90", "coverage_80")
Rows = Iterator[dict[str, Any]]


def main() -> None:
    settings = fit_settings()
    sets = read_training_sets(paths.TRAINING, QUANTILE_TARGETS)
    tables = {
        "learning_curve": learning_curve(sets, settings),
        "transfer": transfer(sets, settings),
        "upper": upper_reference(sets, settings),
        "coverage": coverage(sets, settings, read_unknown_tools(paths.TRAINING)),
    }
    for name, rows in tables.items():
        write_csv(paths.TRAINING_REPORTS / f"{name}.csv", pd.DataFrame(rows))


def learning_curve(sets: Sequence[TrainingSet], settings: FitSettings) -> Rows:
    """Metrics of models trained on a share of the sessions."""
    for share in tqdm(SHARES, desc="learning curve"):
        learned = _learn_each([data.select(_subset(data, share)) for data in sets], settings)
        yield from _metrics(sets, learned, {"share": share})


def transfer(sets: Sequence[TrainingSet], settings: FitSettings) -> Rows:
    """Metrics on every set of models trained on one set alone."""
    for source in tqdm(sorted({str(name) for data in sets for name in np.unique(data.sources)}), desc="transfer"):
        of_source = [data.select(data.sources == source) for data in sets if (data.sources == source).any()]
        yield from _metrics(sets, _learn_each(of_source, settings), {"trained_on": source})


def upper_reference(sets: Sequence[TrainingSet], settings: FitSettings) -> Rows:
    """Metrics of models with the settings UPPER."""
    with tqdm(total=sum(len(data.target.forests) for data in sets), desc="upper reference", unit="forest") as progress:
        learned = learn(sets, dataclasses.replace(settings, **UPPER), progress.update)
    yield from _metrics(sets, learned, {"model": "upper reference"})


def coverage(sets: Sequence[TrainingSet], settings: FitSettings, unknown: TrainingSet | None) -> Rows:
    """Coverage of the 80 % intervals over all sessions of each set, by cross-validation over sessions.

    `unknown`: further training rows of tool durations, with unknown tools.
    """
    for data in tqdm(sets, desc="coverage", unit="target"):
        folds = session_folds(data, "coverage: ")
        fold_of = dict(zip(_sessions(data), folds.tolist(), strict=True))
        predicted = np.empty((len(data), len(QUANTILES)), np.float32)
        for fold in range(FOLDS):
            held_out = folds == fold
            further = None
            if unknown is not None and data.target is TOOL_DURATION:
                further = _hold_out(unknown, np.array([fold_of[session] == fold for session in _sessions(unknown)]))
            (learned,) = learn([_hold_out(data, held_out)], settings, unknown=further)
            predicted[held_out] = learned.models.predict(data.rows[held_out])
        for source in np.unique(data.sources).tolist():
            mask = data.sources == source
            metrics = evaluate(predicted[mask], data.select(mask), data.select(mask))
            yield {"set": source, "target": data.target.name} | {name: metrics.get(name) for name in COVERAGE}


def _sessions(data: TrainingSet) -> list[tuple[str, str]]:
    return list(zip(data.sources.tolist(), data.sessions.tolist(), strict=True))


def _hold_out(data: TrainingSet, held_out: NDArray[np.bool_]) -> TrainingSet:
    """The same rows, with those of the mask `held_out` as the only test part."""
    others = np.where(data.parts == "test", "train", data.parts)
    return dataclasses.replace(data, parts=np.where(held_out, "test", others))


def _learn_each(sets: Sequence[TrainingSet], settings: FitSettings) -> list[Learned]:
    """The models of each set; logs and skips a set without rows in one of the parts."""
    learned = []
    for data in sets:
        try:
            learned += learn([data], settings)
        except TrainingError as error:
            logger.warning("skipped: %s", error)
    return learned


def _subset(data: TrainingSet, share: float) -> NDArray[np.bool_]:
    """Mask of all test rows and of the others in about `share` of the sessions, at least one per set and part.

    A hash of the session's name chooses the sessions.
    """
    positions = {session: position(session, "curve: ") for session in np.unique(data.sessions).tolist()}
    position_of_row = np.array([positions[session] for session in data.sessions.tolist()])
    chosen = (position_of_row < share) | (data.parts == "test")
    for source in np.unique(data.sources).tolist():
        for part in ("train", "validation"):
            mask = (data.sources == source) & (data.parts == part)
            if mask.any():
                chosen |= mask & (position_of_row == position_of_row[mask].min())
    return np.asarray(chosen, np.bool_)


def _metrics(sets: Sequence[TrainingSet], learned: Sequence[Learned], columns: dict[str, Any]) -> Rows:
    """One row per model and set, on the complete values of the test part, with the further `columns`."""
    tests = {data.target.name: data.part("test") for data in sets}
    for models in (entry.models for entry in learned):
        test = tests[models.target.name]
        predicted = models.predict(test.rows)
        for source in np.unique(test.sources).tolist():
            mask = (test.sources == source) & ~test.censored
            if mask.any():
                metrics = quantile_metrics(predicted[mask], np.maximum(test.values[mask], test.target.floor))
                row = {"set": source, "target": test.target.name, **columns, "rows": int(np.count_nonzero(mask))}
                yield row | {name: np.nan if metrics[name] is None else metrics[name] for name in QUALITY}


if __name__ == "__main__":
    run_stage(main)
