"""What serving asks of the predictors."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TurnPredictions:
    """What is expected of n turns. Each (n, 3) float32: p10, p50, p90, positive and non-decreasing along a row."""

    output_length: Rows  # tokens
    session_remaining: Rows  # turns of the session still to come, the present one counted
    session_remaining_tokens: Rows  # output and new prompt tokens of the session's turns after the present one
    ends_in_tool: NDArray[np.float32]  # (n,): probability that the turn ends in a tool call


class Predictor(Protocol):
    """A call answers for a whole batch; an empty one is answered with empty arrays."""

    def turns(self, rows: Rows) -> TurnPredictions:
        """`rows`: (n, TURN_FEATURES), at the turns' arrival."""
        ...

    def tool_duration(self, rows: Rows) -> Rows:
        """Duration of tool calls, seconds, (n, 3) like the above. `rows`: (n, TOOL_CALL_FEATURES)."""
        ...
