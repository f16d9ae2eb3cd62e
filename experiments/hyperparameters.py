"""Search of the predictors' hyper-parameters with Optuna: `python -m experiments.hyperparameters`.

It needs the tables of `dvc repro prepare`. The search takes minutes, so it is no stage: copy its best settings into
params.yaml by hand. One seed and one process make it reproducible. The number of trees is fixed (`train.max_rounds`),
because it determines the latency.

Score: cross-fitted pinball loss, or log loss for a probability, relative to the loss of a constant. It is averaged over
models and sets, on the train and validation parts. The test part is not used.
"""

import dataclasses
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from tqdm import tqdm

from augserve.models.learning.censoring import impute
from augserve.models.learning.cross_fit import cross_fit
from augserve.models.learning.evaluation import pinball_loss
from augserve.models.learning.forest import FitSettings, Quantiles, labels
from augserve.models.learning.training_set import TrainingSet, read_training_sets
from augserve.models.serving.target import TARGETS
from augserve.pipeline.project import paths
from augserve.pipeline.project.stage import run_stage
from augserve.pipeline.train.reports import write_csv
from augserve.pipeline.train.run import fit_settings

logger = logging.getLogger(__name__)

TRIALS = 24
REPORT: Path = paths.TRAINING_REPORTS / "search.csv"
SPACE: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(0.05, 0.4, log=True),
    "learning_rate_probability": FloatDistribution(0.1, 0.6, log=True),
    "max_depth": IntDistribution(3, 6),
    "max_depth_shared_trees": IntDistribution(3, 7),
    "min_child_weight": FloatDistribution(3.0, 60.0, log=True),
    "subsample": FloatDistribution(0.5, 1.0),
    "colsample_bytree": FloatDistribution(0.3, 1.0),
    "reg_lambda": FloatDistribution(0.1, 30.0, log=True),
}
Values = NDArray[np.float64]


def main() -> None:
    settings = fit_settings()
    sets = [
        impute(data.select(data.parts != "test"), settings.seed) for data in read_training_sets(paths.TRAINING, TARGETS)
    ]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=settings.seed, n_startup_trials=8))
    study.enqueue_trial({name: getattr(settings, name) for name in SPACE})
    for _ in tqdm(range(TRIALS), desc="search", unit="trial"):
        trial = study.ask(SPACE)
        study.tell(trial, score(sets, dataclasses.replace(settings, **trial.params)))
    trials = [{"trial": trial.number, "score": trial.value} | trial.params for trial in study.trials]
    write_csv(REPORT, pd.DataFrame(trials).sort_values("score"))
    logger.info("best %.4f (now %.4f): %s", study.best_value, study.trials[0].value, study.best_params)


def score(sets: Sequence[TrainingSet], settings: FitSettings) -> float:
    """Mean relative loss over models and sets; lower is better."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [
            pool.submit(_forest_losses, data, quantiles, settings) for data in sets for quantiles in data.target.forests
        ]
        return float(np.mean([loss for job in jobs for loss in job.result()]))


def _forest_losses(data: TrainingSet, quantiles: Quantiles, settings: FitSettings) -> list[float]:
    """The relative loss of each quantile of one forest."""
    margins = cross_fit(data, quantiles, settings, settings.rounds_of(data.target)).astype(np.float64)
    return [_relative_loss(data, quantile, margins[:, number]) for number, quantile in enumerate(quantiles)]


def _relative_loss(data: TrainingSet, quantile: float, margins: Values) -> float:
    """Loss of `margins`, shape (n,), as a share of the loss of a constant; mean over the sets."""
    actual = labels(data).astype(np.float64)
    shares = []
    for source in np.unique(data.sources).tolist():
        mask = data.sources == source
        if data.target.kind == "probability":
            rate = float(np.clip(actual[mask].mean(), 1e-3, 1 - 1e-3))
            constant = np.full(np.count_nonzero(mask), np.log(rate / (1 - rate)))
            shares.append(_log_loss(actual[mask], margins[mask]) / _log_loss(actual[mask], constant))
        else:
            constant_loss = pinball_loss(actual[mask], np.quantile(actual[mask], quantile), quantile)
            shares.append(pinball_loss(actual[mask], margins[mask], quantile) / max(constant_loss, 1e-9))
    return float(np.mean(shares))


def _log_loss(actual: Values, margins: Values) -> float:
    return float(np.mean(np.logaddexp(0, margins) - actual * margins))


if __name__ == "__main__":
    run_stage(main)
