"""A workload: sessions to run, with what happens in each, the same for the simulator and for a live server."""

import dataclasses
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


LEAD_S = 300.0
"""How long before the start the oldest of the sessions under way may have begun; few live longer."""
NOMINAL_TOKEN_S = 0.02
"""Time an output token takes an unloaded engine: how far sessions had come before the start."""


def steady_sessions(duration_s: float, rate_per_s: float, seed: int) -> tuple[Session, ...]:
    """`augmentation_sessions` over `duration_s`, with those that had begun before and are under way at time 0.

    Those enter with the turn that is theirs next, their context as its prompt. Without them the load would still be
    rising after minutes, since most sessions pause for minutes.
    """
    if not (math.isfinite(duration_s) and duration_s > 0):
        raise WorkloadError(f"workload: duration is {duration_s} s; it must be a positive number")
    count = max(1, round(rate_per_s * (LEAD_S + duration_s)))
    entered = (_enter(session, LEAD_S) for session in augmentation_sessions(count, rate_per_s, seed))
    return tuple(session for session in entered if session is not None)


def _enter(session: Session, start_s: float) -> Session | None:
    """The session as it goes on from `start_s`, which becomes time 0; None where it has ended."""
    arrival_s = session.arrival_s - start_s
    for turn, facts in enumerate(session.turns):
        if arrival_s >= 0:
            first = dataclasses.replace(facts, new_tokens=session.prompt_tokens(turn))
            return dataclasses.replace(session, arrival_s=arrival_s, turns=(first, *session.turns[turn + 1 :]))
        if facts.tool_call is not None:
            arrival_s += facts.output_tokens * NOMINAL_TOKEN_S + facts.tool_call.duration_s
    return None
