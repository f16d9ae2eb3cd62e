"""Stage `train`: calibrated models of each target, and their quality on held-out sessions."""

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from ...data.atomic import replace_folder, write_json
from ...features import feature
from ...models.learning.evaluation import Metrics, evaluate
from ...models.learning.forest import FitSettings
from ...models.learning.training_set import group_counts, read_training_set, read_unknown_tools
from ...models.serving.target import TARGETS
from ..project import paths
from ..project.params import BaseParams, Section, load_params
from ..project.tracking import experiment_run
from .card import write_card
from .reports import write_reports
from .trained import Trained, held_out_metrics, train

logger = logging.getLogger(__name__)


Trees = Annotated[int, Field(ge=1, le=5000)]
Depth = Annotated[int, Field(ge=1, le=12)]
Rate = Annotated[float, Field(gt=0, le=1)]


class TrainParams(Section):
    SECTION = "train"
    max_rounds: Trees
    max_rounds_only_forest: Trees
    max_rounds_probability: Trees
    early_stopping_rounds: int = Field(ge=1)
    learning_rate: Rate
    learning_rate_probability: Rate
    max_depth: Depth
    max_depth_shared_trees: Depth
    min_child_weight: float = Field(ge=0)
    subsample: Rate
    colsample_bytree: Rate
    reg_lambda: float = Field(ge=0)


def main() -> None:
    settings = fit_settings()
    sets = [read_training_set(paths.TRAINING / f"{target.name}.parquet", target) for target in TARGETS]
    sources = sorted({str(source) for data in sets for source in data.sources})
    tags = {"kind": "predictors", "sources": ", ".join(sources), "features": str(feature.VERSION)}
    with experiment_run("predictors", "predictors", dataclasses.asdict(settings), tags, system_metrics=True) as run:
        trained = train(sets, settings, read_unknown_tools(paths.TRAINING))
        metrics = held_out_metrics(trained)
        write_json(paths.TRAINING_METRICS, metrics)
        by_tool = write_reports(trained, settings.seed)
        write_card(trained, metrics, by_tool, settings)
        _write_models(trained, settings, metrics)
        run.log_metrics(dict(flat(metrics)))
        run.log_folder(paths.TRAINING_REPORTS, "reports")
    for name, of_target in metrics.items():
        for target, values in of_target.items():
            logger.info("%s %s: %s", name, target, " ".join(f"{key}={value}" for key, value in _rounded(values)))


def fit_settings() -> FitSettings:
    """Section `train` of params.yaml, with the seed."""
    return FitSettings(**dict(load_params(TrainParams)), seed=load_params(BaseParams).seed)


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
        write_json(folder / paths.TRAINING_SUMMARY.name, summary)

    replace_folder(paths.TRAINED, fill)


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
