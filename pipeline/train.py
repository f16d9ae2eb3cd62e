"""Stage `train`: quantile models of each target, and how good they are on sessions never seen."""

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from ..data.atomic import atomic_file, replace_folder, write_json
from ..features import feature
from ..models.evaluation import Metrics, calibration, evaluate
from ..models.quantile import FitSettings, QuantileModels, fit_quantile, importance
from ..models.target import QUANTILE_TARGETS, QUANTILES, Target
from ..models.training_set import TrainingSet, group_counts, read_training_set
from .params import BaseParams, load_params, require
from .prepare import TRAINING
from .stage import run_stage
from .tracking import experiment_run

logger = logging.getLogger(__name__)

TRAINED = Path("models/trained")
SUMMARY = "summary.json"
REPORTS = Path("reports/train")
METRICS = REPORTS / "metrics.json"
PLOTTED_ROWS = 500  # of each set and target


@dataclass(frozen=True, slots=True)
class TrainParams:
    max_rounds: int
    early_stopping_rounds: int
    learning_rate: float
    max_depth: int
    min_child_weight: float
    subsample: float
    colsample_bytree: float

    def __post_init__(self) -> None:
        require(1 <= self.max_rounds <= 5000, "train.max_rounds", self.max_rounds, "in [1, 5000]")
        require(self.early_stopping_rounds >= 1, "train.early_stopping_rounds", self.early_stopping_rounds, "1 or more")
        require(0 < self.learning_rate <= 1, "train.learning_rate", self.learning_rate, "in (0, 1]")
        require(1 <= self.max_depth <= 12, "train.max_depth", self.max_depth, "in [1, 12]")
        require(self.min_child_weight >= 0, "train.min_child_weight", self.min_child_weight, "0 or more")
        require(0 < self.subsample <= 1, "train.subsample", self.subsample, "in (0, 1]")
        require(0 < self.colsample_bytree <= 1, "train.colsample_bytree", self.colsample_bytree, "in (0, 1]")


@dataclass(frozen=True, slots=True)
class Fitted:
    """A target's models, and what they say of the test part."""

    data: TrainingSet
    test: TrainingSet
    models: QuantileModels
    predicted: NDArray[np.float32]

    def of_source(self, source: str) -> tuple[TrainingSet, NDArray[np.float32]]:
        mask = self.test.sources == source
        return self.test.select(mask), self.predicted[mask]


def main() -> None:
    seed = load_params("base", BaseParams).seed
    params = load_params("train", TrainParams)
    settings = FitSettings(**dataclasses.asdict(params), seed=seed)
    sets = [read_training_set(TRAINING / f"{target.name}.parquet", target) for target in QUANTILE_TARGETS]
    with experiment_run("predictors", "train", dataclasses.asdict(settings)) as run:
        fitted = fit(sets, settings)
        metrics = test_metrics(fitted)
        _write_reports(fitted, metrics, seed)
        _write_models(fitted, settings, metrics)
        run.log_metrics(dict(flat(metrics)))
        run.log_folder(REPORTS, "reports")
    for name, of_target in metrics.items():
        for target, values in of_target.items():
            logger.info("%s %s: %s", name, target, " ".join(f"{key}={value}" for key, value in _rounded(values)))


def fit(sets: Iterable[TrainingSet], settings: FitSettings) -> list[Fitted]:
    """Fit every quantile of every set's target. Raises TrainingError where a part of the split is empty."""
    todo = list(sets)
    fitted = []
    with tqdm(total=len(todo) * len(QUANTILES), desc="train", unit="model") as progress:
        for data in todo:
            train, validation, test = data.part("train"), data.part("validation"), data.part("test")
            boosters = []
            for quantile in QUANTILES:
                boosters.append(fit_quantile(train, validation, quantile, settings))
                progress.update()
            models = QuantileModels(data.target, tuple(boosters))
            fitted.append(Fitted(data, test, models, models.predict(test.rows)))
    return fitted


def test_metrics(fitted: Iterable[Fitted]) -> dict[str, dict[str, Metrics]]:
    """{set: {target: {metric: value}}} on the test part; a target without rows of a set is left out there."""
    metrics: dict[str, dict[str, Metrics]] = {}
    for one in fitted:
        train = one.data.part("train")
        for source in np.unique(one.test.sources).tolist():
            test, predicted = one.of_source(source)
            known = train.select(train.sources == source)
            metrics.setdefault(source, {})[one.models.target.name] = evaluate(predicted, test, known)
    return metrics


def flat(metrics: Mapping[str, Mapping[str, Metrics]]) -> Iterable[tuple[str, float]]:
    """`set/target/metric` → value, without what has no value."""
    for name, of_target in metrics.items():
        for target, values in of_target.items():
            for key, value in values.items():
                if value is not None:
                    yield f"{name}/{target}/{key}", value


def _write_models(fitted: Iterable[Fitted], settings: FitSettings, metrics: Mapping[str, Any]) -> None:
    fitted = list(fitted)
    summary = {
        "features_version": feature.VERSION,
        "settings": dataclasses.asdict(settings),
        "metrics": metrics,
        "targets": {one.models.target.name: _target_summary(one) for one in fitted},
    }

    def fill(folder: Path) -> None:
        for one in fitted:
            one.models.save(folder)
        write_json(folder / SUMMARY, summary)

    replace_folder(TRAINED, fill)


def _target_summary(one: Fitted) -> dict[str, Any]:
    target: Target = one.models.target
    rounds = [booster.num_boosted_rounds() for booster in one.models.boosters]
    return {
        "unit": target.unit,
        "rows": group_counts(one.data),
        "rounds": dict(zip(target.model_names, rounds, strict=True)),
    }


def _write_reports(fitted: Iterable[Fitted], metrics: Mapping[str, Any], seed: int) -> None:
    fitted = list(fitted)
    generator = np.random.default_rng(seed)
    samples, quantiles = [], []
    for one in fitted:
        name = one.models.target.name
        for source in np.unique(one.test.sources).tolist():
            test, predicted = one.of_source(source)
            chosen = np.sort(generator.permutation(len(test))[:PLOTTED_ROWS])
            facts = {"target": name, "set": source}
            columns = {f"p{round(q * 100)}": predicted[chosen, index] for index, q in enumerate(QUANTILES)}
            samples.append(pd.DataFrame(facts | {"actual": test.values[chosen]} | columns))
            observed = calibration(predicted, np.maximum(test.values, test.target.floor))
            quantiles.append(pd.DataFrame(facts | {"quantile": observed.keys(), "observed": observed.values()}))
    gains = [
        pd.DataFrame({"target": one.models.target.name, "feature": gain.keys(), "gain_share": gain.values()})
        for one in fitted
        for gain in [importance(one.models)]
    ]
    _write_csv(REPORTS / "predictions.csv", pd.concat(samples))
    _write_csv(REPORTS / "calibration.csv", pd.concat(quantiles))
    _write_csv(REPORTS / "importance.csv", pd.concat(gains))
    write_json(METRICS, metrics)


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    with atomic_file(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")


def _rounded(values: Metrics) -> list[tuple[str, str]]:
    return [(key, "none" if value is None else f"{value:.4g}") for key, value in values.items()]


if __name__ == "__main__":
    run_stage(main)
