"""What is predicted: each target's name, unit, features and quantiles."""

from dataclasses import dataclass
from typing import Literal

from ..features.feature import Feature
from ..features.tool_call import TOOL_CALL_FEATURES
from ..features.turn import TURN_FEATURES

QUANTILES = (0.1, 0.5, 0.9)
Kind = Literal["quantiles", "probability"]


@dataclass(frozen=True, slots=True)
class Target:
    """A positive quantity, learned on log scale, one model a quantile; or the probability that a value is 1, not 0."""

    name: str
    unit: str
    features: tuple[Feature, ...]
    floor: float  # the least that a prediction may be, in `unit`; models learn log(max(value, floor))
    kind: Kind = "quantiles"

    @property
    def model_names(self) -> tuple[str, ...]:
        """One name a model, in the order of QUANTILES."""
        if self.kind == "probability":
            return (self.name,)
        return tuple(f"{self.name}_p{round(quantile * 100)}" for quantile in QUANTILES)


OUTPUT_LENGTH = Target("output_length", "tokens", TURN_FEATURES, 1.0)
TOOL_DURATION = Target("tool_duration", "s", TOOL_CALL_FEATURES, 1e-4)
SESSION_REMAINING = Target("session_remaining", "turns", TURN_FEATURES, 1.0)
"""Turns of the session still to come, the present one counted."""
SESSION_REMAINING_TOKENS = Target("session_remaining_tokens", "tokens", TURN_FEATURES, 1.0)
"""Output tokens and new prompt tokens of the session's turns after the present one."""
ENDS_IN_TOOL = Target("ends_in_tool", "probability", TURN_FEATURES, 0.0, "probability")
"""The turn ends in a tool call (1) or not (0)."""

TARGETS = (OUTPUT_LENGTH, TOOL_DURATION, SESSION_REMAINING, SESSION_REMAINING_TOKENS, ENDS_IN_TOOL)
QUANTILE_TARGETS = tuple(target for target in TARGETS if target.kind == "quantiles")
