"""The prediction targets: name, unit, features and quantiles of each."""

from dataclasses import dataclass
from typing import Literal

from ...features.feature import Feature
from ...features.tool_call import TOOL_CALL_FEATURES
from ...features.turn import TURN_FEATURES

QUANTILES = (0.1, 0.5, 0.9)
LOG_CEILING = 20.0
"""No prediction exceeds e^20, so that exp stays finite."""
_CENTRE = 0.5  # for a target without quantiles
Kind = Literal["quantiles", "probability"]


@dataclass(frozen=True, slots=True)
class Target:
    """A positive quantity, learned on log scale with one model per quantile, or the probability of a 1.

    With `shared_trees`, one forest has a value per quantile in each leaf: a third of the trees to walk. Length and
    duration gain accuracy with one more level; the p90 of a session's remaining work loses.
    """

    name: str
    unit: str
    features: tuple[Feature, ...]
    floor: float  # lower limit of a prediction, in `unit`; models learn log(max(value, floor))
    kind: Kind = "quantiles"
    shared_trees: bool = False

    @property
    def model_names(self) -> tuple[str, ...]:
        """One name per model, in the order of QUANTILES."""
        if self.kind == "probability":
            return (self.name,)
        return tuple(f"{self.name}_p{round(quantile * 100)}" for quantile in QUANTILES)

    @property
    def forests(self) -> tuple[tuple[float, ...], ...]:
        """The quantiles of each forest; joined, in the order of the model names."""
        if self.kind == "probability":
            return ((_CENTRE,),)
        return (QUANTILES,) if self.shared_trees else tuple((quantile,) for quantile in QUANTILES)

    @property
    def forest_names(self) -> tuple[str, ...]:
        return (self.name,) if self.shared_trees else self.model_names


OUTPUT_LENGTH = Target("output_length", "tokens", TURN_FEATURES, 1.0, shared_trees=True)
TOOL_DURATION = Target("tool_duration", "s", TOOL_CALL_FEATURES, 1e-4, shared_trees=True)
SESSION_REMAINING = Target("session_remaining", "turns", TURN_FEATURES, 1.0)
"""Remaining turns of the session, including the present one."""
SESSION_REMAINING_TOKENS = Target("session_remaining_tokens", "tokens", TURN_FEATURES, 1.0)
"""Output tokens and new prompt tokens of the session's turns after the present one."""
ENDS_IN_TOOL = Target("ends_in_tool", "probability", TURN_FEATURES, 0.0, "probability")
"""The turn ends in a tool call (1) or not (0)."""

TARGETS = (OUTPUT_LENGTH, TOOL_DURATION, SESSION_REMAINING, SESSION_REMAINING_TOKENS, ENDS_IN_TOOL)
QUANTILE_TARGETS = tuple(target for target in TARGETS if target.kind == "quantiles")
