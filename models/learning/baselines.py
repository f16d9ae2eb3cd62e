"""Baselines of the models, for the reports: constants, single features and ridge regression.

A baseline predicts one log value per row, NaN if it has none; the median of the row's source replaces NaN. Its
quantiles add the quantiles of its errors on the training rows, source by source.
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
    """The baselines of a target, by name: (training rows, rows) → log values, shape (n,)."""
    everywhere: dict[str, Point] = {"median": _median, "median of the tool": _tool_median, "linear": _linear}
    features = {
        OUTPUT_LENGTH: {"last value": "last_output_tokens", "max_tokens": "max_tokens"},
        TOOL_DURATION: {"last value": "same_tool_last_s"},
        SESSION_REMAINING: {"turns so far": "turn"},
        SESSION_REMAINING_TOKENS: {"turns so far": "turn"},
    }[target]
    mean: dict[str, Point] = {"mean": _mean} if target in (SESSION_REMAINING, SESSION_REMAINING_TOKENS) else {}
    return everywhere | mean | {name: _of_feature(feature) for name, feature in features.items()}


def point_quantiles(point: Point, train: TrainingSet, test: TrainingSet) -> NDArray[np.float32]:
    """(n, quantiles) of a baseline, in the target's unit; the median is its prediction itself."""
    log_floor = np.log(test.target.floor)
    train_points, test_points = (
        np.maximum(_filled(point(train, rows), train, rows), log_floor) for rows in (train, test)
    )
    errors = labels(train) - train_points
    spread = np.zeros((len(test), len(QUANTILES)))
    for source in np.unique(test.sources).tolist():
        of_source = train.sources == source
        quantiles = np.quantile(errors[of_source] if of_source.any() else errors, QUANTILES)
        spread[test.sources == source] = np.where(np.asarray(QUANTILES) == 0.5, 0.0, quantiles)
    predicted = np.exp(np.maximum(test_points[:, None] + spread, log_floor))
    return np.sort(predicted, axis=1).astype(np.float32)


def tool_quantiles(train: TrainingSet, test: TrainingSet) -> NDArray[np.float32]:
    """(n, quantiles): those of the row's tool in the training rows of its source; of all tools for an unseen tool."""
    predicted = np.stack([_of_tool(train, test, quantile) for quantile in QUANTILES], axis=1)
    return np.maximum(predicted, test.target.floor).astype(np.float32)


def _filled(points: Points, train: TrainingSet, rows: TrainingSet) -> Points:
    return np.where(np.isfinite(points), points, _median(train, rows))


def _median(train: TrainingSet, rows: TrainingSet) -> Points:
    return _of_source(train, rows, lambda values: float(np.median(values)))


def _mean(train: TrainingSet, rows: TrainingSet) -> Points:
    return _of_source(train, rows, lambda values: float(np.log(np.mean(np.exp(values)))))


def _of_source(train: TrainingSet, rows: TrainingSet, statistic: Callable[[Points], float]) -> Points:
    values = labels(train).astype(np.float64)
    of_source = {source: statistic(values[train.sources == source]) for source in np.unique(train.sources).tolist()}
    of_all = statistic(values)
    return np.array([of_source.get(source, of_all) for source in rows.sources.tolist()])


def _tool_median(train: TrainingSet, rows: TrainingSet) -> Points:
    return np.asarray(np.log(np.maximum(_of_tool(train, rows, 0.5), rows.target.floor)), np.float64)


def _of_tool(train: TrainingSet, rows: TrainingSet, quantile: float) -> Points:
    points = np.empty(len(rows))
    for source in np.unique(rows.sources).tolist():
        mask = rows.sources == source
        of_source = train.select(train.sources == source) if (train.sources == source).any() else train
        points[mask] = group_quantile(of_source, rows.select(mask), quantile)
    return points


def _of_feature(name: str) -> Point:
    def point(train: TrainingSet, rows: TrainingSet) -> Points:  # noqa: ARG001
        column = [part.name for part in rows.target.features].index(name)
        values = rows.rows[:, column].astype(np.float64) + (name == "turn")  # the feature counts earlier turns
        return np.asarray(np.log(np.maximum(values, rows.target.floor)), np.float64)

    return point


def _linear(train: TrainingSet, rows: TrainingSet) -> Points:
    """Ridge regression on signed logs of the features, with an indicator for each missing one."""

    def design(data: TrainingSet) -> Points:
        values = data.rows.astype(np.float64)
        logs = np.sign(values) * np.log1p(np.abs(values))
        return np.concatenate((np.nan_to_num(logs), np.isnan(values)), axis=1)

    columns = design(train)
    middle, scale = columns.mean(axis=0), columns.std(axis=0) + 1e-6
    standard = (columns - middle) / scale
    target = labels(train).astype(np.float64)
    weights = train.weights[:, None]
    gram = standard.T @ (standard * weights) + RIDGE * np.eye(standard.shape[1])
    slope = np.linalg.solve(gram, (standard * weights).T @ (target - target.mean()))
    return np.asarray(np.clip((design(rows) - middle) / scale, -8, 8) @ slope + target.mean(), np.float64)
