"""The rest of a partly elapsed length or duration, from the same quantiles: an input of stage II.

p10, p50 and p90 fix a two-piece log-logistic distribution: log x = log p50 + s·L with L standard logistic, s from p10
below the median and from p90 above it. Its quantiles given that x exceeds the elapsed part have a closed form, unlike
those of the log-normal. Its tail is heavy: beyond p90 the expected rest grows with the elapsed part, as it does for
outputs and tool calls.
"""

import numpy as np
from numpy.typing import NDArray

from .predictor import Rows
from .target import LOG_CEILING, QUANTILES

Values = NDArray[np.float64]
_LOGIT_90 = float(np.log(9.0))
_LEAST_SCALE = 1e-3  # of coinciding quantiles


def residual_quantiles(predicted: Rows, passed: Values) -> Values:
    """Quantiles of the rest, shape (n, 3), in the unit of `predicted`, which is (n, 3), positive and non-decreasing.

    `passed`, shape (n,): the elapsed part, 0 or more; 0 leaves the quantiles as they are. The result is finite.
    """
    total = conditional_quantiles(predicted, passed)
    rest: Values = np.maximum(total - np.asarray(passed, np.float64)[:, None], 0.0)
    return rest


def conditional_quantiles(predicted: Rows, passed: Values) -> Values:
    """Quantiles of the whole, shape (n, 3), at least `passed`."""
    logs = np.log(np.maximum(np.asarray(predicted, np.float64), 1e-9))
    median = logs[:, 1]
    below = np.maximum((median - logs[:, 0]) / _LOGIT_90, _LEAST_SCALE)
    above = np.maximum((logs[:, 2] - median) / _LOGIT_90, _LEAST_SCALE)
    passed = np.asarray(passed, np.float64)
    with np.errstate(divide="ignore"):
        distance = np.log(passed) - median  # -inf for an elapsed part of 0
    odds = distance / np.where(distance < 0, below, above)  # log odds of having ended by now
    quantiles = np.asarray(QUANTILES)
    # P(x ≤ t) = 1 - (1 - q)·P(x > passed), in log odds: log(e^odds + q) - log(1 - q)
    ended = np.logaddexp(odds[:, None], np.log(quantiles)) - np.log1p(-quantiles)
    scale = np.where(ended < 0, below[:, None], above[:, None])
    total = np.exp(np.minimum(median[:, None] + scale * ended, LOG_CEILING))
    whole: Values = np.maximum(total, passed[:, None])
    return whole
