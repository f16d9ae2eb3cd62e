"""The interface of predictors in serving."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .tool_tables import ToolTables

Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TurnPredictions:
    """Predictions for n turns. Quantiles have shape (n, 3): p10, p50, p90, positive and non-decreasing along a row."""

    output_length: Rows  # tokens
    session_remaining: Rows  # remaining turns of the session, including the present one
    session_remaining_tokens: Rows  # output and new prompt tokens of the session's later turns
    ends_in_tool: NDArray[np.float32]  # (n,): probability that the turn ends in a tool call


class Predictor(Protocol):
    """Each call predicts for a batch, from the features alone; an empty batch gives empty arrays."""

    @property
    def tables(self) -> ToolTables:
        """Quantiles by tool, which a forecaster blends with the predictions."""
        ...

    def turns(self, rows: Rows) -> TurnPredictions:
        """`rows`: (n, TURN_FEATURES), as of the turns' arrival."""
        ...

    def tool_duration(self, rows: Rows) -> Rows:
        """Quantiles of tool calls' durations in seconds, shape (n, 3). `rows`: (n, TOOL_CALL_FEATURES)."""
        ...
