"""Fits of step times."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

Array = NDArray[np.float64]
REWEIGHTINGS = 5


def relative_fit(design: Array, target: Array, scale: Array) -> list[float]:
    """Non-negative coefficients of least squares with errors relative to `scale`."""
    coefficients, _ = nnls(design / scale[:, None], target / scale)
    return [float(value) for value in coefficients]


def settled_fit(design: Array, seconds: Array, believed: Array | None = None, strength: float = 0.0) -> Array:
    """The same with errors relative to the fitted time, so that short steps count as much as long ones.

    Errors relative to the measured time would bias the fit below the mean. `believed`: positive coefficients that hold
    where no step tells of one; they weigh as if a coefficient that is wrong by all of itself were a step that is wrong
    by `strength` of its time.
    """
    size = design.shape[1]
    prior = np.empty((0, size)) if believed is None else strength * np.diag(1 / believed)
    rows, target = np.vstack((design, prior)), np.append(seconds, np.full(len(prior), strength))
    scale = seconds if believed is None else design @ believed
    for _ in range(REWEIGHTINGS):
        found = np.array(relative_fit(rows, target, np.append(np.maximum(scale, 1e-9), np.ones(len(prior)))))
        scale = design @ found
    return found
