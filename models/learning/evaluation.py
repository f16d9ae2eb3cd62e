"""How good predictions are, on sessions that were not learned from, beside a per-tool baseline.

Values that are only lower bounds are left out: what a prediction should have been is not known there.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, rankdata

from ..serving.target import QUANTILES
from .training_set import TrainingSet

Values = NDArray[np.float64]
Metrics = dict[str, float | None]
_SAME = 1e-5  # predictions are float32, out of exp(log): a whole number comes back only so nearly
_BINS = 10
RESAMPLES = 2000


def evaluate(predicted: NDArray[np.float32], test: TrainingSet, train: TrainingSet) -> Metrics:
    """One target's metrics of `reports/train/metrics.json`, in its unit. `predicted`: (n, quantiles), rows of `test`;
    (n,) for a probability.

    The baseline is the median (or p90) of the row's group in `train`: its tool, or the session's last tool.
    """
    keep = ~test.censored
    if not keep.any():
        return {"rows": 0.0}
    predicted, test = predicted[keep], test.select(keep)
    if test.target.kind == "probability":
        return _probability_metrics(predicted, test, train)
    actual = np.maximum(test.values, test.target.floor)
    low, high = coverage_interval(_held(predicted, actual), test.sessions)
    return quantile_metrics(predicted, actual) | {
        "sessions": float(len(np.unique(test.sessions))),
        "coverage_80_low": low,
        "coverage_80_high": high,
        "mae_baseline": float(np.mean(np.abs(group_quantile(train, test, 0.5) - actual))),
        "pinball_p90_baseline": pinball_loss(actual, group_quantile(train, test, 0.9), 0.9),
    }


def quantile_metrics(predicted: NDArray[np.float32], actual: Values) -> Metrics:
    """Of predictions of shape (n, quantiles). `actual`: no less than the target's floor, for no more is asked of a
    prediction. Kendall's τ is None where all values or all predictions are alike, or there is but one, for there is no
    order then."""
    low, median, high = (predicted[:, index].astype(np.float64) for index in range(len(QUANTILES)))
    return {
        "rows": float(len(actual)),
        "kendall_tau": _kendall_tau(median, actual),
        "mae": float(np.mean(np.abs(median - actual))),
        "median_absolute_error": float(np.median(np.abs(median - actual))),
        "median_ratio": float(np.exp(np.median(np.abs(np.log(median) - np.log(actual))))),  # off by this factor
        "pinball_p10": pinball_loss(actual, low, 0.1),
        "pinball_p90": pinball_loss(actual, high, 0.9),
        "coverage_80": float(np.mean(_held(predicted, actual))),
    }


def coverage_interval(held: NDArray[np.bool_], sessions: NDArray[np.str_]) -> tuple[float | None, float | None]:
    """95 % interval of the share of `held`, by a bootstrap over sessions, seeded: rows of one session hold or miss
    together, so that their number alone would promise too much. None where there is one session: it tells nothing."""
    _, index = np.unique(sessions, return_inverse=True)
    rows = np.bincount(index).astype(np.float64)
    if len(rows) < 2:
        return None, None
    draws = np.random.default_rng(0).multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=RESAMPLES)
    shares = draws @ np.bincount(index, weights=held) / (draws @ rows)
    low, high = np.percentile(shares, (2.5, 97.5)).tolist()
    return low, high


def _held(predicted: NDArray[np.float32], actual: Values) -> NDArray[np.bool_]:
    """Whether each value lies within its interval, from the first quantile to the last."""
    low, high = predicted[:, 0].astype(np.float64), predicted[:, -1].astype(np.float64)
    return np.asarray((low * (1 - _SAME) <= actual) & (actual <= high * (1 + _SAME)), np.bool_)


def _probability_metrics(predicted: NDArray[np.float32], test: TrainingSet, train: TrainingSet) -> Metrics:
    """Brier score beside that of the set's rate, area under the ROC curve, and mean distance of ten bins' rates from
    their predictions (expected calibration error)."""
    chance, actual = predicted.astype(np.float64), test.values
    bins = np.minimum((chance * _BINS).astype(int), _BINS - 1)
    error = sum(abs(float(np.sum((chance - actual)[bins == one]))) for one in range(_BINS)) / len(actual)
    return {
        "rows": float(len(actual)),
        "kendall_tau": _kendall_tau(chance, actual),
        "auc": _auc(chance, actual),
        "brier": float(np.mean((chance - actual) ** 2)),
        "brier_baseline": float(np.mean((np.mean(train.values) - actual) ** 2)),
        "calibration_error": float(error),
    }


def pinball_loss(actual: Values, predicted: Values, quantile: float) -> float:
    """Mean of max(q·e, (q − 1)·e) with e = actual − predicted (Koenker and Bassett, 1978)."""
    error = actual - predicted
    return float(np.mean(np.maximum(quantile * error, (quantile - 1) * error)))


def group_quantile(train: TrainingSet, test: TrainingSet, quantile: float) -> Values:
    """For each row of `test` that quantile of its group's values in `train`; of all of them for a group not seen."""
    overall = float(np.quantile(train.values, quantile))
    known = {
        group: float(np.quantile(train.values[train.groups == group], quantile))
        for group in np.unique(train.groups).tolist()
    }
    return np.array([known.get(group, overall) for group in test.groups.tolist()])


def calibration_curve(predicted: NDArray[np.float32], actual: Values) -> Mapping[float, float]:
    """Quantile → share of the values at or below its prediction; the two are equal where it is calibrated."""
    return {
        quantile: float(np.mean(actual <= predicted[:, index] * (1 + _SAME)))
        for index, quantile in enumerate(QUANTILES)
    }


def _kendall_tau(predicted: Values, actual: Values) -> float | None:
    if len(actual) < 2:
        return None  # SciPy would warn
    tau = float(kendalltau(predicted, actual).statistic)
    return tau if np.isfinite(tau) else None


def _auc(chance: Values, actual: Values) -> float | None:
    """Share of the pairs of a 1 and a 0 that the prediction orders right (Mann and Whitney's U)."""
    ones = int(actual.sum())
    if ones in (0, len(actual)):
        return None
    ranks = rankdata(chance)[actual == 1]
    return float((ranks.sum() - ones * (ones + 1) / 2) / (ones * (len(actual) - ones)))
