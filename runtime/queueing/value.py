"""What a waiting turn is worth: the lower the value, the sooner it goes. Pure numpy over columns, seconds throughout.

Stage I, at arrival, is the memory that the turn is expected to hold, over the time that it holds it. Stage II, each
step, weighs that with what is known by now, as the cost of a turn: a prompt computed serves those that soon follow too.
"""

import math
from dataclasses import dataclass
from enum import IntEnum, auto

import numpy as np
from numpy.typing import NDArray

from ...models.serving.settings import SchedulerSettings, StepTime

Floats = NDArray[np.float64]


class Column(IntEnum):
    """Rows of the columns that are valued; one entry a waiting turn."""

    WAITING_SINCE_S = 0  # arrival, or the last preemption
    DEADLINE_S = auto()  # by when the first token is due; +inf once it is out
    TOKENS = auto()  # to be in the KV cache before the next token comes
    UNCACHED_TOKENS = auto()  # of these, not found in the prefix cache
    NEW_TOKENS = auto()  # prompt tokens beyond the session's last context
    OUTPUT_TOKENS = auto()  # expected, still to come
    FUTURE_TURNS = auto()  # of the session, expected after this one
    SOON_TURNS = auto()  # of these, those that soon follow, see `soon_turns`
    PAUSE_S = auto()  # expected length of the tool call after the turn
    PAST_TOKENS = auto()  # context of the session before the turn
    PAST_OUTPUT_TOKENS = auto()  # of these, generated
    TENANT = auto()  # slot of the tenant's account, see tenants.py


@dataclass(frozen=True, slots=True)
class Load:
    """The engine at this moment."""

    now_s: float
    token_s: float  # time of one decode step
    running_tokens: float  # context of the running requests
    capacity_tokens: float  # KV cache
    tenants_s: Floats | None = None  # engine time that tenants have had of late, by slot; None: not told


CLASS_S = 1e9
"""Distance between the classes' keys: further than any value reaches."""
LIMIT_S = 4e8


def decode_step_s(step: StepTime, running: int, context_tokens: float) -> float:
    """Time of a step that only decodes: one output token for each running request."""
    return step.base_s + step.per_decode_s * running + step.per_context_token_s * context_tokens


def prefill_s(step: StepTime, tokens: Floats) -> Floats:
    """Time to compute so many tokens, at least one: vLLM computes the last token of a prompt even if all are cached."""
    return step.base_s + step.per_prefill_token_s * tokens


def stage_one_s(columns: Floats, load: Load, step: StepTime) -> Floats:
    """Expected cost of a turn, shape (n,): share of the KV cache × time held, over prefill, decode and the pause after.

    The integral of memory over time by which MARS/LAMPS rank (prefill: from the cached to all tokens; decode: one more
    token each token_s), and the pause under its cheaper policy after InferCept: waste_preserve = d·C,
    waste_discard = T_fwd(C)·C + T_fwd(C)·C_other. Swap is left out while vLLM's offloading connector is not asked.
    """
    tokens, uncached = columns[Column.TOKENS], columns[Column.UNCACHED_TOKENS]
    output = columns[Column.OUTPUT_TOKENS]
    context = tokens + output
    prefill = prefill_s(step, uncached) * (2 * tokens - uncached) / 2
    decode = load.token_s * output * (tokens + (output + 1) / 2)
    preserve = columns[Column.PAUSE_S] * context
    discard = prefill_s(step, context) * (context + load.running_tokens)
    pause = np.minimum(preserve, discard) * np.minimum(columns[Column.FUTURE_TURNS], 1.0)
    cost: Floats = (prefill + decode + pause) / load.capacity_tokens
    return cost


def decode_s(columns: Floats, step: StepTime) -> Floats:
    """Engine time of the tokens still to be generated, shape (n,): what they add to the steps that they are part of."""
    a_token_s = step.per_decode_s + step.per_context_token_s * columns[Column.TOKENS]
    cost: Floats = a_token_s * columns[Column.OUTPUT_TOKENS]
    return cost


def soon_turns(future_turns: float, pause_s: float, soon_s: float) -> float:
    """Of the session's turns to come those that soon follow and find its context in the cache: the longer the pause
    before them, the less likely, exp(-pause / soon_s)."""
    return future_turns * math.exp(-pause_s / soon_s)


def remaining_s(columns: Floats, load: Load, step: StepTime) -> Floats:
    """Decode and prefill time of the session's turns still to come, each as long as this one, shape (n,)."""
    a_turn = load.token_s * columns[Column.OUTPUT_TOKENS] + step.per_prefill_token_s * columns[Column.NEW_TOKENS]
    left: Floats = columns[Column.FUTURE_TURNS] * a_turn
    return left


def slack_s(columns: Floats, load: Load, uncached_s: Floats) -> Floats:
    """Time left until the prefill has to start for the first token to come in time, shape (n,); 0 once it is out."""
    due_s = columns[Column.DEADLINE_S]
    return np.where(np.isinf(due_s), 0.0, due_s - load.now_s - uncached_s)


def attained_s(columns: Floats, load: Load, step: StepTime) -> Floats:
    """Prefill and decode time of the session's turns before this one, shape (n,): its attained service."""
    output = columns[Column.PAST_OUTPUT_TOKENS]
    had: Floats = step.per_prefill_token_s * (columns[Column.PAST_TOKENS] - output) + load.token_s * output
    return had


def keys(columns: Floats, load: Load, settings: SchedulerSettings) -> Floats:
    """Sort keys of shape (n,), lowest first: classes first, the weighed terms inside them.

    The terms are those of models.settings.ValueWeights; one without weight is not computed. Classes: who can still have
    its first token in time (or has it), then who cannot; overdue.py puts some before both. What the prompt costs
    (uncached, stage_one) is shared by the turn and those that soon follow it; each of these decodes for itself. With
    weights {uncached: 1, all others 0} this is the rule `uncached-first`.
    """
    weights, step = settings.weights, settings.step_time
    uncached_s = prefill_s(step, columns[Column.UNCACHED_TOKENS])
    value = weights.uncached * uncached_s
    if weights.stage_one:
        value += weights.stage_one * stage_one_s(columns, load, step)
    if weights.future:
        value /= 1.0 + weights.future * columns[Column.SOON_TURNS]
    if weights.output:
        value += weights.output * decode_s(columns, step)
    if weights.remaining:
        value += weights.remaining * remaining_s(columns, load, step)
    if weights.waiting:
        value -= weights.waiting * (load.now_s - columns[Column.WAITING_SINCE_S])
    if weights.slack:
        value += weights.slack * slack_s(columns, load, uncached_s)
    if weights.attained:
        value += weights.attained * attained_s(columns, load, step)
    if weights.tenant and load.tenants_s is not None:
        value += weights.tenant * load.tenants_s[columns[Column.TENANT].astype(np.intp)]
    np.minimum(value, LIMIT_S, out=value)
    np.maximum(value, -LIMIT_S, out=value)
    value[load.now_s + uncached_s > columns[Column.DEADLINE_S]] += CLASS_S
    return value
