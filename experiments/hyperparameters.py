"""Search of the predictors' hyper-parameters with Optuna; what it finds is put into params.yaml by hand.

Run by `python -m experiments.hyperparameters` after `dvc repro prepare`. Not a stage: a search in each run would
cost minutes and change nothing. Seeded, on one process: the same tables give the same answer. The score is cross-fitted
pinball loss (log loss of the probability) over the train and validation parts, relative to a constant's and averaged
over sets and models; the test part takes no part. The number of trees is a given (`train.max_rounds`): it sets the
latency.
"""

import dataclasses
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from augserve.models.learning.censoring import impute
from augserve.models.learning.cross_fit import cross_fit
from augserve.models.learning.forest import FitSettings, Quantiles, labels
from augserve.models.learning.training_set import TrainingSet, read_training_set
from augserve.models.serving.target import TARGETS
from augserve.pipeline.project import paths
from augserve.pipeline.project.stage import run_stage
from augserve.pipeline.train.reports import write_csv
from augserve.pipeline.train.run import fit_settings

logger = logging.getLogger(__name__)

TRIALS = 24
REPORT: Path = paths.TRAINING_REPORTS / "search.csv"
Values = NDArray[np.float64]


def main() -> None:
    start = fit_settings()
    sets = [read_training_set(paths.TRAINING / f"{target.name}.parquet", target) for target in TARGETS]
    known = [impute(data.select(data.parts != "test"), start.seed) for data in sets]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=start.seed, n_startup_trials=8))
    study.enqueue_trial({name: getattr(start, name) for name in _suggested(None)})
    with tqdm(total=TRIALS, desc="search", unit="trial") as progress:

        def objective(trial: optuna.Trial) -> float:
            found = score(known, dataclasses.replace(start, **_suggested(trial)))
            progress.update()
            return found

        study.optimize(objective, n_trials=TRIALS)
    trials = [{"trial": trial.number, "score": trial.value} | trial.params for trial in study.trials]
    write_csv(REPORT, pd.DataFrame(trials).sort_values("score"))
    logger.info("best %.4f (now %.4f): %s", study.best_value, study.trials[0].value, study.best_params)


def score(sets: Sequence[TrainingSet], settings: FitSettings) -> float:
    """Cross-fitted loss as a share of a constant's, mean over models and sources; lower is better."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [
            pool.submit(_relative_losses, data, quantiles, settings)
            for data in sets
            for quantiles in data.target.forests
        ]
        return float(np.mean([loss for job in jobs for loss in job.result()]))


def _relative_losses(data: TrainingSet, quantiles: Quantiles, settings: FitSettings) -> list[float]:
    """One a quantile of the forest."""
    margins = cross_fit(data, quantiles, settings, settings.rounds_of(data.target)).astype(np.float64)
    return [_relative_loss(data, level, margins[:, number]) for number, level in enumerate(quantiles)]


def _relative_loss(data: TrainingSet, level: float, margins: Values) -> float:
    actual = labels(data).astype(np.float64)
    shares = []
    for source in np.unique(data.sources).tolist():
        mask = data.sources == source
        if data.target.kind == "probability":
            rate = float(np.clip(actual[mask].mean(), 1e-3, 1 - 1e-3))
            constant = np.full(np.count_nonzero(mask), np.log(rate / (1 - rate)))
            shares.append(_log_loss(actual[mask], margins[mask]) / _log_loss(actual[mask], constant))
        else:
            error, plain = actual[mask] - margins[mask], actual[mask] - np.quantile(actual[mask], level)
            shares.append(_pinball(error, level) / max(_pinball(plain, level), 1e-9))
    return float(np.mean(shares))


def _pinball(error: Values, level: float) -> float:
    return float(np.mean(np.maximum(level * error, (level - 1) * error)))


def _log_loss(actual: Values, margins: Values) -> float:
    return float(np.mean(np.logaddexp(0, margins) - actual * margins))


def _suggested(trial: optuna.Trial | None) -> dict[str, Any]:
    """The searched settings; without a trial only their names."""
    if trial is None:
        depths, shares = ("max_depth", "max_depth_shared_trees"), ("subsample", "colsample_bytree")
        rates = ("learning_rate", "learning_rate_probability")
        return dict.fromkeys((*rates, *depths, "min_child_weight", *shares, "reg_lambda"), 0.0)
    return {
        "learning_rate": trial.suggest_float("learning_rate", 0.05, 0.4, log=True),
        "learning_rate_probability": trial.suggest_float("learning_rate_probability", 0.1, 0.6, log=True),
        "max_depth": trial.suggest_int("max_depth", 3, 6),
        "max_depth_shared_trees": trial.suggest_int("max_depth_shared_trees", 3, 7),
        "min_child_weight": trial.suggest_float("min_child_weight", 3.0, 60.0, log=True),
        "subsample": trial.suggest_float("subsample", 0.5, 1.0),
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.3, 1.0),
        "reg_lambda": trial.suggest_float("reg_lambda", 0.1, 30.0, log=True),
    }


if __name__ == "__main__":
    run_stage(main)
