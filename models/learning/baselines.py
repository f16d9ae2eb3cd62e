"""Simple rivals of the models, for the reports: each predicts what anybody could without learning, or with a line.

A rival gives a point in log units for each row, NaN where it has none (the median of the row's source stands in). Its
quantiles are the point plus the quantiles of its errors on what was learned from, source by source.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from ..serving.target import (
    OUTPUT_LENGTH,
    QUANTILES,
    SESSION_REMAINING,
    SESSION_REMAINING_TOKENS,
    TOOL_DURATION,
    Target,
)
from .evaluation import group_quantile
from .forest import labels
from .training_set import TrainingSet

Points = NDArray[np.float64]
Point = Callable[[TrainingSet, TrainingSet], Points]
RIDGE = 10.0


def baselines(target: Target) -> Mapping[str, Point]:
    """The rivals of a target, by name: (learned rows, rows) → points. Those of `_of_feature` read one feature."""
    everywhere: dict[str, Point] = {"median": _median, "median of the tool": _tool_median, "linear": _linear}
    features = {
        OUTPUT_LENGTH: {"last value": "last_output_tokens", "max_tokens": "max_tokens"},
        TOOL_DURATION: {"last value": "same_tool_last_s"},
        SESSION_REMAINING: {"turns so far": "turn"},
        SESSION_REMAINING_TOKENS: {"turns so far": "turn"},
    }[target]
    mean: dict[str, Point] = {"mean": _mean} if target in (SESSION_REMAINING, SESSION_REMAINING_TOKENS) else {}
    return everywhere | mean | {name: _of_feature(feature) for name, feature in features.items()}


def quantiles(point: Point, known: TrainingSet, test: TrainingSet) -> NDArray[np.float32]:
    """(n, quantiles) of a rival, in the target's unit; its point is its median."""
    log_floor = np.log(test.target.floor)
    of_known, of_test = (np.maximum(_filled(point(known, rows), known, rows), log_floor) for rows in (known, test))
    errors = labels(known) - of_known
    spread = np.zeros((len(test), len(QUANTILES)))
    for source in np.unique(test.sources).tolist():
        of_source = known.sources == source
        found = np.quantile(errors[of_source] if of_source.any() else errors, QUANTILES)
        spread[test.sources == source] = np.where(np.asarray(QUANTILES) == 0.5, 0.0, found)
    predicted = np.exp(np.maximum(of_test[:, None] + spread, log_floor))
    return np.sort(predicted, axis=1).astype(np.float32)


def tool_quantiles(known: TrainingSet, test: TrainingSet) -> NDArray[np.float32]:
    """(n, quantiles) of the row's tool in what was learned from of its source, of all tools for one not seen there."""
    predicted = np.stack([_of_tool(known, test, quantile) for quantile in QUANTILES], axis=1)
    return np.maximum(predicted, test.target.floor).astype(np.float32)


def _filled(points: Points, known: TrainingSet, rows: TrainingSet) -> Points:
    return np.where(np.isfinite(points), points, _median(known, rows))


def _median(known: TrainingSet, rows: TrainingSet) -> Points:
    return _of_source(known, rows, lambda values: float(np.median(values)))


def _mean(known: TrainingSet, rows: TrainingSet) -> Points:
    return _of_source(known, rows, lambda values: float(np.log(np.mean(np.exp(values)))))


def _of_source(known: TrainingSet, rows: TrainingSet, statistic: Callable[[Points], float]) -> Points:
    values = labels(known).astype(np.float64)
    of_source = {source: statistic(values[known.sources == source]) for source in np.unique(known.sources).tolist()}
    of_all = statistic(values)
    return np.array([of_source.get(source, of_all) for source in rows.sources.tolist()])


def _tool_median(known: TrainingSet, rows: TrainingSet) -> Points:
    return np.asarray(np.log(np.maximum(_of_tool(known, rows, 0.5), rows.target.floor)), np.float64)


def _of_tool(known: TrainingSet, rows: TrainingSet, quantile: float) -> Points:
    points = np.empty(len(rows))
    for source in np.unique(rows.sources).tolist():
        mask = rows.sources == source
        learned = known.select(known.sources == source) if (known.sources == source).any() else known
        points[mask] = group_quantile(learned, rows.select(mask), quantile)
    return points


def _of_feature(name: str) -> Point:
    def point(known: TrainingSet, rows: TrainingSet) -> Points:  # noqa: ARG001
        column = [part.name for part in rows.target.features].index(name)
        values = rows.rows[:, column].astype(np.float64) + (name == "turn")  # turns so far count this one
        return np.asarray(np.log(np.maximum(values, rows.target.floor)), np.float64)

    return point


def _linear(known: TrainingSet, rows: TrainingSet) -> Points:
    """Ridge regression on signed logs of the same features, with an indicator for the missing."""

    def design(given: TrainingSet) -> Points:
        values = given.rows.astype(np.float64)
        logs = np.sign(values) * np.log1p(np.abs(values))
        return np.concatenate((np.nan_to_num(logs), np.isnan(values)), axis=1)

    learned, asked = design(known), design(rows)
    middle, scale = learned.mean(axis=0), learned.std(axis=0) + 1e-6
    standard = (learned - middle) / scale
    target = labels(known).astype(np.float64)
    weights = known.weights[:, None]
    gram = standard.T @ (standard * weights) + RIDGE * np.eye(standard.shape[1])
    slope = np.linalg.solve(gram, (standard * weights).T @ (target - target.mean()))
    return np.asarray(np.clip((asked - middle) / scale, -8, 8) @ slope + target.mean(), np.float64)
