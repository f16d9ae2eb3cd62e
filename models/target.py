"""What is predicted: each target's name, unit, features and quantiles."""

from dataclasses import dataclass

from ..features.feature import Feature
from ..features.tool_call import TOOL_CALL_FEATURES
from ..features.turn import TURN_FEATURES

QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True, slots=True)
class Target:
    """A positive quantity, learned on log scale, one model a quantile."""

    name: str
    unit: str
    features: tuple[Feature, ...]
    floor: float  # the least value that a prediction may take, in `unit`; also added to nothing: log(max(value, floor))

    def model_name(self, quantile: float) -> str:
        return f"{self.name}_p{round(quantile * 100)}"


OUTPUT_LENGTH = Target("output_length", "tokens", TURN_FEATURES, 1.0)
TOOL_DURATION = Target("tool_duration", "s", TOOL_CALL_FEATURES, 1e-4)
SESSION_REMAINING = Target("session_remaining", "turns", TURN_FEATURES, 1.0)
"""Turns of the session still to come, the present one counted."""

TARGETS = (OUTPUT_LENGTH, TOOL_DURATION, SESSION_REMAINING)
