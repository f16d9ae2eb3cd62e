"""Metrics of predictions on held-out sessions, next to a per-tool baseline. Censored values are left out."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, rankdata

from ..serving.target import QUANTILES
from .training_set import TrainingSet

Values = NDArray[np.float64]
Metrics = dict[str, float | None]
_SAME = 1e-5  # relative error of a float32 prediction, exp(log(value))
_BINS = 10
RESAMPLES = 2000


def evaluate(predicted: NDArray[np.float32], test: TrainingSet, train: TrainingSet) -> Metrics:
    """One target's metrics in `reports/train/metrics.json`, in its unit.

    `predicted`: of the rows of `test`, (n, quantiles), or (n,) for a probability. The baseline is the median (or p90)
    of the row's group in `train`: its tool, or the session's last tool.
    """
    complete = ~test.censored
    if not complete.any():
        return {"rows": 0.0}
    predicted, test = predicted[complete], test.select(complete)
    if test.target.kind == "probability":
        return _probability_metrics(predicted, test, train)
    actual = np.maximum(test.values, test.target.floor)
    low, high = coverage_interval(_covered(predicted, actual), test.sessions)
    return quantile_metrics(predicted, actual) | {
        "sessions": float(len(np.unique(test.sessions))),
        "coverage_80_low": low,
        "coverage_80_high": high,
        "mae_baseline": float(np.mean(np.abs(group_quantile(train, test, 0.5) - actual))),
        "pinball_p90_baseline": pinball_loss(actual, group_quantile(train, test, 0.9), 0.9),
    }


def quantile_metrics(predicted: NDArray[np.float32], actual: Values) -> Metrics:
    """Metrics of predictions of shape (n, quantiles). `actual`, shape (n,): at least the target's floor.

    `median_ratio` is the factor of the median error. Kendall's τ is None if all values or all predictions are equal.
    """
    low, median, high = (predicted[:, index].astype(np.float64) for index in range(len(QUANTILES)))
    return {
        "rows": float(len(actual)),
        "kendall_tau": _kendall_tau(median, actual),
        "mae": float(np.mean(np.abs(median - actual))),
        "median_absolute_error": float(np.median(np.abs(median - actual))),
        "median_ratio": float(np.exp(np.median(np.abs(np.log(median) - np.log(actual))))),
        "pinball_p10": pinball_loss(actual, low, 0.1),
        "pinball_p90": pinball_loss(actual, high, 0.9),
        "coverage_80": float(np.mean(_covered(predicted, actual))),
    }


def coverage_interval(covered: NDArray[np.bool_], sessions: NDArray[np.str_]) -> tuple[float | None, float | None]:
    """95 % interval of the share of `covered` rows, by a seeded bootstrap over sessions; None for one session.

    Rows of one session are correlated, so a bootstrap over rows would be too narrow.
    """
    _, index = np.unique(sessions, return_inverse=True)
    rows = np.bincount(index).astype(np.float64)
    if len(rows) < 2:
        return None, None
    draws = np.random.default_rng(0).multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=RESAMPLES)
    shares = draws @ np.bincount(index, weights=covered) / (draws @ rows)
    low, high = np.percentile(shares, (2.5, 97.5)).tolist()
    return low, high


def _covered(predicted: NDArray[np.float32], actual: Values) -> NDArray[np.bool_]:
    """Whether each value lies between its first and its last quantile, shape (n,)."""
    low, high = predicted[:, 0].astype(np.float64), predicted[:, -1].astype(np.float64)
    return np.asarray((low * (1 - _SAME) <= actual) & (actual <= high * (1 + _SAME)), np.bool_)


def _probability_metrics(predicted: NDArray[np.float32], test: TrainingSet, train: TrainingSet) -> Metrics:
    """Brier score and that of the set's rate, area under the ROC curve, expected calibration error over ten bins."""
    probability, actual = predicted.astype(np.float64), test.values
    bins = np.minimum((probability * _BINS).astype(int), _BINS - 1)
    error = sum(abs(float(np.sum((probability - actual)[bins == index]))) for index in range(_BINS)) / len(actual)
    return {
        "rows": float(len(actual)),
        "kendall_tau": _kendall_tau(probability, actual),
        "auc": _auc(probability, actual),
        "brier": float(np.mean((probability - actual) ** 2)),
        "brier_baseline": float(np.mean((np.mean(train.values) - actual) ** 2)),
        "calibration_error": float(error),
    }


def pinball_loss(actual: Values, predicted: Values, quantile: float) -> float:
    """Mean of max(q·e, (q − 1)·e) with e = actual − predicted (Koenker and Bassett, 1978)."""
    error = actual - predicted
    return float(np.mean(np.maximum(quantile * error, (quantile - 1) * error)))


def group_quantile(train: TrainingSet, test: TrainingSet, quantile: float) -> Values:
    """For each row of `test` that quantile of its group's values in `train`; of all values for an unseen group."""
    overall = float(np.quantile(train.values, quantile))
    of_group = {
        group: float(np.quantile(train.values[train.groups == group], quantile))
        for group in np.unique(train.groups).tolist()
    }
    return np.array([of_group.get(group, overall) for group in test.groups.tolist()])


def calibration_curve(predicted: NDArray[np.float32], actual: Values) -> Mapping[float, float]:
    """Quantile → share of the values at or below its prediction; the two are equal for calibrated models."""
    return {
        quantile: float(np.mean(actual <= predicted[:, index] * (1 + _SAME)))
        for index, quantile in enumerate(QUANTILES)
    }


def _kendall_tau(predicted: Values, actual: Values) -> float | None:
    if len(actual) < 2:
        return None  # SciPy would warn
    tau = float(kendalltau(predicted, actual).statistic)
    return tau if np.isfinite(tau) else None


def _auc(probability: Values, actual: Values) -> float | None:
    """Share of the pairs of a 1 and a 0 in the right order (Mann and Whitney's U)."""
    ones = int(actual.sum())
    if ones in (0, len(actual)):
        return None
    ranks = rankdata(probability)[actual == 1]
    return float((ranks.sum() - ones * (ones + 1) / 2) / (ones * (len(actual) - ones)))
