"""A workload: sessions to run, with what happens in each, the same for the simulator and for a live server."""

import math
from dataclasses import dataclass

import numpy as np

from .augmentations import Augmentation, load_augmentations, lognormal

MAX_TOKENS = 1024  # the limit on output that a client of the mix sends


class WorkloadError(ValueError):
    """A workload cannot be made as asked; the message names the figure, the cause and the remedy."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    tool: str
    duration_s: float
    result_tokens: int


@dataclass(frozen=True, slots=True)
class Turn:
    """One LLM call. Its prompt is all of the session so far, then `new_tokens`: the first prompt, or nothing but
    what the last tool returned."""

    new_tokens: int
    output_tokens: int  # unknown to the scheduler
    tool_call: ToolCall | None  # what follows; None ends the session


@dataclass(frozen=True, slots=True)
class Session:
    session_id: str
    kind: str  # math, qa, ve, chatbot, image, tts, …
    arrival_s: float
    turns: tuple[Turn, ...]
    tools_offered: int = 1
    max_tokens: int = MAX_TOKENS  # of each turn, as its client sends it

    def prompt_tokens(self, turn: int) -> int:
        """Length of the prompt of turn `turn`."""
        past = self.turns[:turn]
        return sum(t.new_tokens + t.output_tokens for t in past) + self.turns[turn].new_tokens


def augmentation_sessions(count: int, rate_per_s: float, seed: int) -> tuple[Session, ...]:
    """`count` sessions of the six augmentations, in the mix's proportions, arriving as a Poisson process.

    Calls, tool times, results and contexts agree with augmentations.csv. The same seed gives the same sessions at
    every rate: only the arrivals are stretched. Raises WorkloadError for a count or rate that is not positive.
    """
    if count < 1:
        raise WorkloadError(f"workload: {count} sessions asked for; ask for 1 or more")
    if not (math.isfinite(rate_per_s) and rate_per_s > 0):
        raise WorkloadError(f"workload: session rate is {rate_per_s}/s; it must be a positive number")
    kinds = load_augmentations()
    shares = np.array([kind.requests for kind in kinds], np.float64)
    random = np.random.default_rng(seed)
    arrivals = np.cumsum(random.exponential(size=count)) / rate_per_s
    chosen = random.choice(len(kinds), size=count, p=shares / shares.sum())
    return tuple(
        _augmentation_session(kinds[chosen[index]], f"{kinds[chosen[index]].kind}-{seed}-{index}", float(at), random)
        for index, at in enumerate(arrivals)
    )


def _augmentation_session(
    kind: Augmentation, session_id: str, arrival_s: float, random: np.random.Generator
) -> Session:
    calls = _whole(lognormal(random, *kind.session_calls))
    new_tokens = _whole(lognormal(random, kind.counted_prompt_mean, kind.counted_prompt_sd))
    turns = []
    for _ in range(calls):
        tool_call = ToolCall(kind.kind, kind.tool_time_s(random), _whole(lognormal(random, *kind.tool_result)))
        turns.append(Turn(new_tokens, _output_tokens(kind, random), tool_call))
        new_tokens = tool_call.result_tokens
    turns.append(Turn(new_tokens, _output_tokens(kind, random), None))
    return Session(session_id, kind.kind, arrival_s, tuple(turns))


def _output_tokens(kind: Augmentation, random: np.random.Generator) -> int:
    return min(_whole(lognormal(random, *kind.turn_output)), MAX_TOKENS)


def _whole(value: float) -> int:
    return max(1, round(value))
