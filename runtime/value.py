"""What a waiting turn is worth: the lower the value, the sooner it goes. Pure numpy over columns, seconds throughout.

Stage I, at arrival, is the memory that the turn is expected to hold, over the time that it holds it. Stage II, each
step, weighs that with what is known by now.
"""

from dataclasses import dataclass
from enum import IntEnum, auto

import numpy as np
from numpy.typing import NDArray

from ..models.settings import SchedulerSettings, StepTime

Floats = NDArray[np.float64]


class Column(IntEnum):
    """Rows of the columns that are valued; one entry a waiting turn."""

    WAITING_SINCE_S = 0  # arrival, or the last preemption
    DEADLINE_S = auto()  # by when the first token is due; +inf once it is out
    TOKENS = auto()  # to be in the KV cache before the next token comes
    CACHED_TOKENS = auto()  # of these, found in the prefix cache
    NEW_TOKENS = auto()  # prompt tokens beyond the session's last context
    OUTPUT_TOKENS = auto()  # expected, still to come
    FUTURE_TURNS = auto()  # of the session, expected after this one
    PAUSE_S = auto()  # expected length of the tool call after the turn


@dataclass(frozen=True, slots=True)
class Load:
    """The engine at this moment."""

    now_s: float
    token_s: float  # time of one decode step
    running_tokens: float  # context of the running requests
    capacity_tokens: float  # KV cache


CLASS_S = 1e9
"""Distance between the classes' keys: further than any value reaches."""
LIMIT_S = 4e8


def decode_step_s(step: StepTime, running: int, context_tokens: float) -> float:
    """Time of a step that only decodes: one output token for each running request."""
    return step.base_s + step.per_decode_s * running + step.per_context_token_s * context_tokens


def prefill_s(step: StepTime, tokens: Floats) -> Floats:
    """Time to compute so many tokens; none takes none."""
    return np.where(tokens > 0, step.base_s + step.per_prefill_token_s * tokens, 0.0)


def stage_one_s(columns: Floats, load: Load, step: StepTime) -> Floats:
    """Expected cost of a turn, shape (n,): share of the KV cache × time held, over prefill, decode and the pause after.

    The integral of memory over time by which MARS/LAMPS rank (prefill: from the cached to all tokens; decode: one more
    token each token_s), and the pause under its cheaper policy after InferCept: waste_preserve = d·C,
    waste_discard = T_fwd(C)·C + T_fwd(C)·C_other. Swap is left out while vLLM's offloading connector is not asked.
    """
    tokens, cached = columns[Column.TOKENS], columns[Column.CACHED_TOKENS]
    output = columns[Column.OUTPUT_TOKENS]
    context = tokens + output
    prefill = prefill_s(step, tokens - cached) * (tokens + cached) / 2
    decode = load.token_s * output * (tokens + (output + 1) / 2)
    preserve = columns[Column.PAUSE_S] * context
    discard = prefill_s(step, context) * (context + load.running_tokens)
    pause = np.minimum(preserve, discard) * np.minimum(columns[Column.FUTURE_TURNS], 1.0)
    return (prefill + decode + pause) / load.capacity_tokens


def terms(columns: Floats, load: Load, step: StepTime) -> dict[str, Floats]:
    """The terms of stage II, seconds, each of shape (n,); named as in models.settings.ValueWeights."""
    uncached = prefill_s(step, columns[Column.TOKENS] - columns[Column.CACHED_TOKENS])
    output = columns[Column.OUTPUT_TOKENS] * load.token_s
    a_turn = output + step.per_prefill_token_s * columns[Column.NEW_TOKENS]
    due = columns[Column.DEADLINE_S]
    return {
        "stage_one": stage_one_s(columns, load, step),
        "uncached": uncached,
        "output": output,
        "remaining": columns[Column.FUTURE_TURNS] * a_turn,
        "waiting": load.now_s - columns[Column.WAITING_SINCE_S],
        "slack": np.where(np.isinf(due), 0.0, due - load.now_s - uncached),
    }


def keys(columns: Floats, load: Load, settings: SchedulerSettings) -> Floats:
    """Sort keys of shape (n,), lowest first: classes first, the weighed terms inside them.

    Classes: who has waited longer than max_wait_s, longest wait first; then who can still have its first token in time
    (or has it); then who cannot. With weights {uncached: 1, all others 0} this is the rule `uncached-first`.
    """
    weights = settings.weights
    term = terms(columns, load, settings.step_time)
    value = np.zeros(columns.shape[1])
    for name in ("stage_one", "uncached", "output", "remaining", "slack"):
        if weight := getattr(weights, name):
            value += weight * term[name]
    if weights.waiting:
        value -= weights.waiting * term["waiting"]
    value = np.clip(value, -LIMIT_S, LIMIT_S)
    late = load.now_s + term["uncached"] > columns[Column.DEADLINE_S]
    overdue = term["waiting"] > settings.max_wait_s
    return np.where(overdue, -np.clip(term["waiting"], 0, LIMIT_S) - CLASS_S, value + CLASS_S * late)
