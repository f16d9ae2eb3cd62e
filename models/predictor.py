"""What serving asks of the predictors."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]


class Predictor(Protocol):
    """Each method takes rows of shape (n, features of the target) and returns (n, 3) float32: p10, p50, p90,
    positive and non-decreasing along a row."""

    def output_length(self, rows: Rows) -> Rows:
        """Output of the turn, tokens."""
        ...

    def tool_duration(self, rows: Rows) -> Rows:
        """Duration of the tool call, seconds."""
        ...

    def session_remaining(self, rows: Rows) -> Rows:
        """Turns of the session still to come, the present one counted."""
        ...
