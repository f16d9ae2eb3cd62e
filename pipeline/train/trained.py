"""Trained models with their predictions of the held-out sessions: the input of reports and card."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ...models.learning.cross_fit import Learned, learn
from ...models.learning.evaluation import Metrics, evaluate, quantile_metrics
from ...models.learning.forest import FitSettings
from ...models.learning.stacking import fit_tables, stacked
from ...models.learning.training_set import TrainingSet
from ...models.serving.target import TOOL_DURATION
from ...models.serving.tool_tables import ToolTables

_EXPECTED = [part.name for part in TOOL_DURATION.features].index("expected")


@dataclass(frozen=True, slots=True)
class Trained:
    """A target's models and their predictions of the test part, blended with the tables of the rows' sets."""

    data: TrainingSet
    test: TrainingSet
    learned: Learned
    forest: NDArray[np.float32]  # predictions without the tables
    predicted: NDArray[np.float32]
    unknown: TrainingSet | None = None  # rows of the test part with tools never seen

    def of_source(self, source: str) -> tuple[TrainingSet, NDArray[np.float32]]:
        mask = self.test.sources == source
        return self.test.select(mask), self.predicted[mask]

    def training_of(self, source: str) -> TrainingSet:
        """The training rows of a set; of all sets if its rows of this target are all in the test part."""
        training = self.learned.training
        of_source = training.sources == source
        return training.select(of_source) if of_source.any() else training

    @property
    def sources(self) -> list[str]:
        """The sets with rows in the test part."""
        return [str(source) for source in np.unique(self.test.sources)]


@dataclass(frozen=True, slots=True)
class CompleteRows:
    """The test rows of one target and set whose values are not censored."""

    source: str
    mask: NDArray[np.bool_]  # of the whole test part
    data: TrainingSet
    predicted: NDArray[np.float32]
    actual: NDArray[np.float64]  # values, at least the target's floor

    @property
    def names(self) -> dict[str, str]:
        return {"target": self.data.target.name, "set": self.source}


def complete_rows(trained: Iterable[Trained]) -> Iterator[CompleteRows]:
    """By target and set; a set without complete values is left out."""
    for part in trained:
        for source in part.sources:
            mask = (part.test.sources == source) & ~part.test.censored
            if mask.any():
                data = part.test.select(mask)
                actual = np.maximum(data.values, data.target.floor)
                yield CompleteRows(source, mask, data, part.predicted[mask], actual)


def train(
    sets: Iterable[TrainingSet], settings: FitSettings, unknown: TrainingSet | None = None
) -> tuple[list[Trained], ToolTables]:
    """Learn every set's target, and the tables. `unknown`: further rows of its target with tools never seen.

    Raises TrainingError for an empty part of the split.
    """
    data_sets = list(sets)
    with tqdm(total=sum(len(data.target.forests) for data in data_sets), desc="train", unit="forest") as progress:
        results = learn(data_sets, settings, progress.update, unknown)
    tables = fit_tables(results, settings.seed)
    trained = []
    for data, learned in zip(data_sets, results, strict=True):
        test = data.part("test")
        unseen = None
        if unknown is not None and unknown.target is data.target and (unknown.parts == "test").any():
            unseen = unknown.part("test")
        forest = learned.models.predict(test.rows)
        trained.append(Trained(data, test, learned, forest, stacked(tables, test, forest), unseen))
    return trained, tables


def held_out_metrics(trained: Iterable[Trained]) -> dict[str, dict[str, Metrics]]:
    """{set: {target: {metric: value}}} on the test part; targets without rows of a set are left out."""
    metrics: dict[str, dict[str, Metrics]] = {}
    for part in trained:
        for source in part.sources:
            test, predicted = part.of_source(source)
            training = part.training_of(source)
            values = evaluate(predicted, test, training)
            if part.data.target is TOOL_DURATION:
                values |= _at_call(test, predicted, training) | _unknown_tool(part, source)
            metrics.setdefault(source, {})[part.data.target.name] = values
    return metrics


def _at_call(test: TrainingSet, predicted: NDArray[np.float32], training: TrainingSet) -> Metrics:
    """The metrics of calls with known tool and arguments, without those only expected at a turn's arrival."""
    called, training_called = (data.rows[:, _EXPECTED] == 0 for data in (test, training))
    if not called.any() or not training_called.any():
        return {}
    values = evaluate(predicted[called], test.select(called), training.select(training_called))
    return {f"{name}_at_call": value for name, value in values.items()}


def _unknown_tool(part: Trained, source: str) -> Metrics:
    """Coverage and width of the intervals for tools never seen, and the width for the set's calls with their tools.

    Width: the median of log(p90 / p10).
    """
    if part.unknown is None or not (mask := (part.unknown.sources == source) & ~part.unknown.censored).any():
        return {}
    rows = part.unknown.select(mask)
    predicted = part.learned.models.predict(rows.rows)
    actual = np.maximum(rows.values, rows.target.floor)
    return {
        "coverage_80_unknown_tool": quantile_metrics(predicted, actual)["coverage_80"],
        "log_width_unknown_tool": float(np.median(log_width(predicted))),
        "log_width": float(np.median(log_width(part.of_source(source)[1]))),
    }


def log_width(predicted: NDArray[np.float32]) -> NDArray[np.float64]:
    """Width of each 80 % interval, shape (n,): log(p90 / p10)."""
    return np.log(predicted[:, -1].astype(np.float64) / predicted[:, 0])
