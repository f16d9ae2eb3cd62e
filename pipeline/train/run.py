"""Stage `train`: trains and calibrates the models of each target, and measures them on held-out sessions."""

import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from ...data.atomic import replace_folder, write_json, write_text
from ...features import feature
from ...models.learning.evaluation import Metrics, evaluate
from ...models.learning.forest import FitSettings
from ...models.learning.training_set import group_counts, read_training_sets, read_unknown_tools
from ...models.serving.target import TARGETS
from ...models.serving.tool_tables import TABLES, ToolTables
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
    sets = read_training_sets(paths.TRAINING, TARGETS)
    sources = sorted({str(source) for data in sets for source in data.sources})
    tags = {"kind": "predictors", "sources": ", ".join(sources), "features": str(feature.VERSION)}
    with experiment_run("predictors", "predictors", dataclasses.asdict(settings), tags, system_metrics=True) as run:
        trained, tables = train(sets, settings, read_unknown_tools(paths.TRAINING))
        metrics = held_out_metrics(trained)
        write_json(paths.TRAINING_METRICS, metrics)
        reports = write_reports(trained, settings.seed)
        write_card(trained, metrics, reports, settings)
        _write_models(trained, tables, settings, metrics)
        run.log_metrics(dict(flat(metrics)))
        run.log_folder(paths.TRAINING_REPORTS, "reports")
    for name, of_target in metrics.items():
        for target, values in of_target.items():
            shown = (f"{key}={value:.4g}" for key, value in values.items() if value is not None)
            logger.info("%s %s: %s", name, target, " ".join(shown))


def fit_settings() -> FitSettings:
    """Settings from section `train` of params.yaml, with the seed of section `base`."""
    return FitSettings(**dict(load_params(TrainParams)), seed=load_params(BaseParams).seed)


def flat(metrics: Mapping[str, Mapping[str, Metrics]]) -> Iterable[tuple[str, float]]:
    """Pairs of `set/target/metric` and its value; missing values are skipped."""
    for name, of_target in metrics.items():
        for target, values in of_target.items():
            for key, value in values.items():
                if value is not None:
                    yield f"{name}/{target}/{key}", value


def _write_models(
    trained: Sequence[Trained], tables: ToolTables, settings: FitSettings, metrics: Mapping[str, Any]
) -> None:
    summary = {
        "features_version": feature.VERSION,
        "settings": dataclasses.asdict(settings),
        "metrics": metrics,
        "targets": {part.data.target.name: _target_summary(part) for part in trained},
    }

    def fill(folder: Path) -> None:
        for part in trained:
            part.learned.models.save(folder)
        write_text(folder / paths.TOOL_TABLES.name, tables.render(TABLES))
        write_json(folder / paths.TRAINING_SUMMARY.name, summary)

    replace_folder(paths.TRAINED, fill)


def _target_summary(part: Trained) -> dict[str, Any]:
    target = part.data.target
    trees = [booster.num_boosted_rounds() for booster in part.learned.models.boosters]
    coverages = [
        evaluate(predicted, test, part.learned.training).get("coverage_80")
        for test, predicted in map(part.of_source, part.sources)
    ]
    known_coverages = [coverage for coverage in coverages if coverage is not None]
    return {
        "unit": target.unit,
        "rows": group_counts(part.data),
        "censored_rows": int(part.data.censored.sum()),
        "trees": dict(zip(target.forest_names, trees, strict=True)),
        "coverage_80": float(np.mean(known_coverages)) if known_coverages else None,
    }
