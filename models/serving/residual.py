"""What is left of a length or duration of which a part has passed: the stage-II question, from the same quantiles.

p10, p50 and p90 fix a two-piece log-logistic distribution: log x = log p50 + s·L with L standard logistic, s from p10
below the median and from p90 above it. Its quantiles given that x exceeds what has passed have a closed form (of the
log-normal they have none), and its tail is heavy: the longer a thing has lasted beyond p90, the longer it will still
last, as outputs and tool calls do.
"""

import numpy as np
from numpy.typing import NDArray

from .predictor import Rows
from .target import QUANTILES

Values = NDArray[np.float64]
_LOGIT_90 = float(np.log(9.0))
_LEAST_SCALE = 1e-3  # quantiles that coincide still leave a little doubt
_LOG_LIMIT = 20.0  # as in models/serving/onnx_predictor.py: exp stays finite


def residual_quantiles(predicted: Rows, passed: Values) -> Values:
    """(n, 3) quantiles of what is still to come, in the unit of `predicted`: shape (n, 3), positive and non-decreasing
    along a row. `passed`: shape (n,), what has passed of each, 0 or more.

    With nothing passed the quantiles come back as they are. Finite for any input of that kind.
    """
    total = conditional_quantiles(predicted, passed)
    left: Values = np.maximum(total - np.asarray(passed, np.float64)[:, None], 0.0)
    return left


def conditional_quantiles(predicted: Rows, passed: Values) -> Values:
    """The same of the whole length: (n, 3), none below `passed`."""
    logs = np.log(np.maximum(np.asarray(predicted, np.float64), 1e-9))
    median = logs[:, 1]
    below = np.maximum((median - logs[:, 0]) / _LOGIT_90, _LEAST_SCALE)
    above = np.maximum((logs[:, 2] - median) / _LOGIT_90, _LEAST_SCALE)
    passed = np.asarray(passed, np.float64)
    with np.errstate(divide="ignore"):
        distance = np.log(passed) - median  # -inf where nothing has passed
    odds = distance / np.where(distance < 0, below, above)  # log odds of having ended by now
    quantiles = np.asarray(QUANTILES)
    # P(x ≤ t) = 1 - (1 - q)·P(x > passed), in log odds: log(e^odds + q) - log(1 - q)
    ended = np.logaddexp(odds[:, None], np.log(quantiles)) - np.log1p(-quantiles)
    scale = np.where(ended < 0, below[:, None], above[:, None])
    total = np.exp(np.minimum(median[:, None] + scale * ended, _LOG_LIMIT))
    whole: Values = np.maximum(total, passed[:, None])
    return whole
