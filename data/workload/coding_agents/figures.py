"""The figures of one kind of coding agent, and the levels at which a session draws them."""

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .effects import Effect, SessionEffects, Values, normal_level, normal_score

PERCENTS = (0, 1, 2, *range(5, 100, 5), 98, 99, 100)
EARLY_TURNS = 6
"""The first turns of a session, in which its context grows fastest, have figures of their own."""
_LEVELS = np.array(PERCENTS) / 100
_FLOOR = 1e-3  # of values interpolated on a log scale: tokens, seconds, shares


@dataclass(frozen=True, eq=False)
class Quantiles:
    count: int  # of the observations
    values: Values  # at PERCENTS

    @cached_property
    def _logs(self) -> Values:
        return np.asarray(np.log(np.maximum(self.values, _FLOOR)), np.float64)

    def at(self, levels: Values | float) -> Values:
        """The values at levels of 0 to 1, interpolated on a log scale."""
        return np.exp(np.interp(levels, _LEVELS, self._logs))

    def nearest(self, level: float) -> float:
        """The nearest value of the table itself: many draws give equal values."""
        return float(self.values[np.abs(_LEVELS - level).argmin()])


@dataclass(frozen=True, slots=True, eq=False)
class Tool:
    """The turns that called one tool; of parallel calls the tool that took the longest. A value a turn."""

    name: str
    output: Quantiles  # tokens
    new_tokens: Quantiles  # of the next turn
    pause: Quantiles  # s, until the last call returned; of sub-agents: from their last token
    calls: Quantiles
    runs_agents: bool


@dataclass(frozen=True, eq=False)
class Stage:
    """A part of a session: its first EARLY_TURNS turns, or the others."""

    tools: tuple[Tool, ...]  # from short to long pauses
    turns: tuple[float, ...]  # that called each tool

    @cached_property
    def _ends(self) -> list[float]:
        ends: list[float] = (np.cumsum(self.turns) / sum(self.turns)).tolist()
        return ends

    def tool_at(self, level: float) -> Tool:
        """The tool at a level of 0 to 1; each has its share of the turns."""
        return self.tools[bisect_right(self._ends[:-1], level)]


@dataclass(frozen=True, eq=False)
class Kind:
    """A kind of coding agent."""

    name: str
    turns: Quantiles
    first_prompt: Quantiles  # tokens
    shared_prompt: Quantiles | None  # its tokens of system prompt and tools; sessions with equally many share them
    last_context: Quantiles  # tokens of the last prompt and its output
    last_output: Quantiles  # tokens of the turn that ends a session
    early: Stage
    late: Stage
    kept_share: Quantiles | None  # of the context, by the turns that do not keep all of it
    effects: SessionEffects

    @property
    def max_tokens(self) -> int:
        """The limit on output: it allows the longest one."""
        outputs = (self.last_output, *(tool.output for stage in (self.early, self.late) for tool in stage.tools))
        return round(max(float(output.values[-1]) for output in outputs))

    @property
    def rewritten_share(self) -> float:
        """The share of turns that do not keep their whole context, among those after the first."""
        if self.kept_share is None:
            return 0.0
        return self.kept_share.count / sum(self.early.turns + self.late.turns)

    def levels(
        self, effect: Effect, deviate: float, shape: int | tuple[int, ...], random: np.random.Generator
    ) -> Values:
        """Levels [..., turn] at which to draw a figure for the turns of a session with that deviate.

        Over the turns of all sessions they are uniform. Long sessions have more turns: where the deviate correlates
        with their length, its mean over turns is not 0 and is taken out.
        """
        between, with_turns = self.effects.between[effect], self.effects.with_turns(effect)
        mean, variance = self._turn_weighted
        scores = np.sqrt(1 - between) * random.standard_normal(shape) + np.sqrt(between) * (deviate - with_turns * mean)
        return normal_level(scores / np.sqrt(1 + between * with_turns**2 * (variance - 1)))

    @cached_property
    def _turn_weighted(self) -> tuple[float, float]:
        """Mean and variance, over turns, of the deviate that draws a session's number of turns."""
        levels = (np.arange(200) + 0.5) / 200
        turns, deviates = self.turns.at(levels), normal_score(levels)
        mean = float(np.average(deviates, weights=turns))
        return mean, float(np.average((deviates - mean) ** 2, weights=turns))
