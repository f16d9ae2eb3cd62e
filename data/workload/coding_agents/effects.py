"""What the turns of one session have in common: deviates that its draws share (a Gaussian copula)."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Effect = Literal["turns", "first_prompt", "last_context", "tool", "output", "pause"]
EFFECTS: tuple[Effect, ...] = get_args(Effect)
_SCORES = np.linspace(-6, 6, 1201)
_LEVELS = np.array([NormalDist().cdf(score) for score in _SCORES.tolist()])


@dataclass(frozen=True, slots=True, eq=False)
class SessionEffects:
    """Standard normal deviates of a session, one for each of EFFECTS.

    `between`: the share of a figure's variance, in normal scores, that lies between sessions. It is 1 for figures of
    which a session has one value.
    """

    between: Mapping[Effect, float]
    correlations: Values  # of the deviates

    def draw(self, random: np.random.Generator) -> dict[Effect, float]:
        variances, axes = np.linalg.eigh(self.correlations)
        deviates = axes @ (np.sqrt(np.maximum(variances, 0.0)) * random.standard_normal(len(EFFECTS)))
        return dict(zip(EFFECTS, deviates.tolist(), strict=True))

    def with_turns(self, effect: Effect) -> float:
        """The correlation of a deviate with that of the session's number of turns."""
        return float(self.correlations[EFFECTS.index("turns"), EFFECTS.index(effect)])


def normal_level(scores: Values) -> Values:
    """The share of a standard normal distribution below each score."""
    return np.asarray(np.interp(scores, _SCORES, _LEVELS), np.float64)


def normal_score(levels: Values) -> Values:
    """The inverse of `normal_level`."""
    return np.asarray(np.interp(levels, _LEVELS, _SCORES), np.float64)
