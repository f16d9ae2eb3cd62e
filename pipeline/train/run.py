"""Stage `train`: calibrated models of each target, and their quality on held-out sessions."""

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...data.atomic import replace_folder, write_json
from ...features import feature
from ...models.learning.evaluation import Metrics, evaluate
from ...models.learning.forest import FitSettings
from ...models.learning.training_set import group_counts, read_training_set
from ...models.serving.target import TARGETS
from ..prepare.run import TRAINING
from ..prepare.unknown_tools import read_unknown_tools
from ..project.params import BaseParams, load_params, require
from ..project.tracking import experiment_run
from .card import write_card
from .reports import write_reports
from .trained import REPORTS, Trained, held_out_metrics, train

logger = logging.getLogger(__name__)

TRAINED = Path("models/trained")
SUMMARY = "summary.json"
METRICS = REPORTS / "metrics.json"


@dataclass(frozen=True, slots=True)
class TrainParams:
    max_rounds: int
    max_rounds_only_forest: int
    max_rounds_probability: int
    early_stopping_rounds: int
    learning_rate: float
    learning_rate_probability: float
    max_depth: int
    max_depth_shared_trees: int
    min_child_weight: float
    subsample: float
    colsample_bytree: float
    reg_lambda: float

    def __post_init__(self) -> None:
        require(1 <= self.max_rounds <= 5000, "train.max_rounds", self.max_rounds, "in [1, 5000]")
        only = self.max_rounds_only_forest
        require(1 <= only <= 5000, "train.max_rounds_only_forest", only, "in [1, 5000]")
        chance = self.max_rounds_probability
        require(1 <= chance <= 5000, "train.max_rounds_probability", chance, "in [1, 5000]")
        require(self.early_stopping_rounds >= 1, "train.early_stopping_rounds", self.early_stopping_rounds, "1 or more")
        require(0 < self.learning_rate <= 1, "train.learning_rate", self.learning_rate, "in (0, 1]")
        rate = self.learning_rate_probability
        require(0 < rate <= 1, "train.learning_rate_probability", rate, "in (0, 1]")
        require(1 <= self.max_depth <= 12, "train.max_depth", self.max_depth, "in [1, 12]")
        shared = self.max_depth_shared_trees
        require(1 <= shared <= 12, "train.max_depth_shared_trees", shared, "in [1, 12]")
        require(self.min_child_weight >= 0, "train.min_child_weight", self.min_child_weight, "0 or more")
        require(0 < self.subsample <= 1, "train.subsample", self.subsample, "in (0, 1]")
        require(0 < self.colsample_bytree <= 1, "train.colsample_bytree", self.colsample_bytree, "in (0, 1]")
        require(self.reg_lambda >= 0, "train.reg_lambda", self.reg_lambda, "0 or more")


def main() -> None:
    settings = fit_settings()
    sets = [read_training_set(TRAINING / f"{target.name}.parquet", target) for target in TARGETS]
    sources = sorted({str(source) for data in sets for source in data.sources})
    tags = {"kind": "predictors", "sources": ", ".join(sources), "features": str(feature.VERSION)}
    with experiment_run("predictors", "predictors", dataclasses.asdict(settings), tags, system_metrics=True) as run:
        trained = train(sets, settings, read_unknown_tools(TRAINING))
        metrics = held_out_metrics(trained)
        write_json(METRICS, metrics)
        by_tool = write_reports(trained, settings.seed)
        write_card(trained, metrics, by_tool, settings)
        _write_models(trained, settings, metrics)
        run.log_metrics(dict(flat(metrics)))
        run.log_folder(REPORTS, "reports")
    for name, of_target in metrics.items():
        for target, values in of_target.items():
            logger.info("%s %s: %s", name, target, " ".join(f"{key}={value}" for key, value in _rounded(values)))


def fit_settings() -> FitSettings:
    """Section `train` of params.yaml, with the seed."""
    return FitSettings(
        **dataclasses.asdict(load_params("train", TrainParams)), seed=load_params("base", BaseParams).seed
    )


def flat(metrics: Mapping[str, Mapping[str, Metrics]]) -> Iterable[tuple[str, float]]:
    """`set/target/metric` → value, without missing values."""
    for name, of_target in metrics.items():
        for target, values in of_target.items():
            for key, value in values.items():
                if value is not None:
                    yield f"{name}/{target}/{key}", value


def _write_models(trained: Iterable[Trained], settings: FitSettings, metrics: Mapping[str, Any]) -> None:
    trained = list(trained)
    summary = {
        "features_version": feature.VERSION,
        "settings": dataclasses.asdict(settings),
        "metrics": metrics,
        "targets": {one.data.target.name: _target_summary(one) for one in trained},
    }

    def fill(folder: Path) -> None:
        for one in trained:
            one.learned.models.save(folder)
        write_json(folder / SUMMARY, summary)

    replace_folder(TRAINED, fill)


def _target_summary(one: Trained) -> dict[str, Any]:
    target = one.data.target
    trees = [booster.num_boosted_rounds() for booster in one.learned.models.boosters]
    covered = [value for value in (_coverage(one, source) for source in one.sources) if value is not None]
    return {
        "unit": target.unit,
        "rows": group_counts(one.data),
        "censored_rows": int(one.data.censored.sum()),
        "trees": dict(zip(target.forest_names, trees, strict=True)),
        "coverage_80": float(np.mean(covered)) if covered else None,
    }


def _coverage(one: Trained, source: str) -> float | None:
    test, predicted = one.of_source(source)
    return evaluate(predicted, test, one.learned.training).get("coverage_80")


def _rounded(values: Metrics) -> list[tuple[str, str]]:
    return [(key, "none" if value is None else f"{value:.4g}") for key, value in values.items()]
