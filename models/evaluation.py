"""How good predictions are, on sessions that were not learned from, beside a per-tool baseline."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from .target import QUANTILES
from .training_set import TrainingSet

Values = NDArray[np.float64]
Metrics = dict[str, float | None]
_SAME = 1e-5  # predictions are float32, out of exp(log): a whole number comes back only so nearly


def evaluate(predicted: NDArray[np.float32], test: TrainingSet, train: TrainingSet) -> Metrics:
    """One target's metrics of `reports/train/metrics.json`, in its unit. `predicted`: (n, quantiles), rows of `test`.

    The baseline is the median (or p90) of the row's group in `train`: its tool, or the session's last tool. Kendall's τ
    is None where all values or all predictions are alike, for there is no order then. A value below the target's floor
    counts as the floor, for no more is asked of a prediction.
    """
    low, median, high = (predicted[:, index].astype(np.float64) for index in range(len(QUANTILES)))
    actual = np.maximum(test.values, test.target.floor)
    tau = float(kendalltau(median, actual).statistic)
    return {
        "kendall_tau": tau if np.isfinite(tau) else None,
        "mae": float(np.mean(np.abs(median - actual))),
        "mae_baseline": float(np.mean(np.abs(group_quantile(train, test, 0.5) - actual))),
        "pinball_p90": pinball_loss(actual, high, 0.9),
        "pinball_p90_baseline": pinball_loss(actual, group_quantile(train, test, 0.9), 0.9),
        "coverage_80": float(np.mean((low * (1 - _SAME) <= actual) & (actual <= high * (1 + _SAME)))),
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


def calibration(predicted: NDArray[np.float32], actual: Values) -> Mapping[float, float]:
    """Quantile → share of the values at or below its prediction; the two are equal where it is calibrated."""
    return {
        quantile: float(np.mean(actual <= predicted[:, index] * (1 + _SAME)))
        for index, quantile in enumerate(QUANTILES)
    }
