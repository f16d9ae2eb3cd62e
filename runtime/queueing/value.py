"""The value of waiting turns: the lowest goes first. Pure numpy over columns; all times in seconds.

Stage I, at arrival, is the KV memory that a turn is expected to occupy, times how long. Stage II, each step, combines
it with the present state into the cost of a turn, whose prompt also serves the session's next turns.
"""

import math
from dataclasses import dataclass
from enum import IntEnum, auto
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ...models.serving.settings import SchedulerSettings, StepTime

Floats = NDArray[np.float64]
Tokens = TypeVar("Tokens", float, Floats)


class Column(IntEnum):
    """Rows of the columns that are valued; one entry a waiting turn."""

    WAITING_SINCE_S = 0  # its first try to arrive, also after a preemption
    DEADLINE_S = auto()  # of the first token; +inf once there is one
    TOKENS = auto()  # tokens that the KV cache must hold before the next token
    UNCACHED_TOKENS = auto()  # the part of TOKENS that the prefix cache does not hold
    NEW_TOKENS = auto()  # prompt tokens beyond the session's last context
    OUTPUT_TOKENS = auto()  # expected output still to come
    FUTURE_TURNS = auto()  # expected turns of the session after this one
    CACHED_FUTURE_TURNS = auto()  # the part of FUTURE_TURNS that finds its context cached
    PAUSE_S = auto()  # expected length of the tool call after the turn
    PAST_TOKENS = auto()  # context of the session before the turn
    PAST_OUTPUT_TOKENS = auto()  # the generated part of PAST_TOKENS
    TENANT = auto()  # slot of the tenant's account, see tenants.py
    ADAPTER = auto()  # number of its LoRA adapter; 0 without one
    LACKS_GRAMMAR = auto()  # 1 while its grammar is not compiled
    ADMITTED = auto()  # 1 if the turn may hold memory, see residency/admission.py; 0 if it asks


@dataclass(frozen=True, slots=True)
class EngineState:
    """The engine at this moment."""

    now_s: float
    token_s: float  # time of one decode step
    running_tokens: float  # context of the running requests
    capacity_tokens: float  # of the KV cache
    tenants_s: Floats | None = None  # recent engine time by tenant slot; None: not weighed


CLASS_S = 1e9
"""Distance between the keys of two classes; larger than any value."""
LIMIT_S = 4e8
"""Bound on the absolute value inside a class."""


def decode_step_s(step: StepTime, running: int, context_tokens: float) -> float:
    """Time of a step that only decodes: one output token for each running request."""
    return step.base_s + step.per_decode_s * running + step.per_context_token_s * context_tokens


def prompt_s(step: StepTime, uncached: Tokens, tokens: Tokens) -> Tokens:
    """Time that the last u = `uncached` of a context's n = `tokens` add to steps. Each attends to all tokens before it:
    u · (n − u/2) query-key pairs."""
    return (step.per_prefill_token_s + step.per_pair_s * (tokens - uncached / 2)) * uncached


def prefill_s(step: StepTime, uncached: Tokens, tokens: Tokens) -> Tokens:
    """T_fwd: time of a step that computes the last `uncached` of a context's `tokens`, at least 1: vLLM always computes
    the last token of a prompt."""
    return step.base_s + prompt_s(step, uncached, tokens)


def heavy(settings: SchedulerSettings, uncached: Floats, tokens: Floats) -> NDArray[np.bool_]:
    """Whether the last `uncached` of a context's `tokens` take so long that other turns wait or share, shape (n,)."""
    found: NDArray[np.bool_] = prefill_s(settings.step_time, uncached, tokens) >= settings.residency.heavy_s
    return found


def stage_one_s(columns: Floats, engine: EngineState, step: StepTime) -> Floats:
    """Expected cost of a turn, shape (n,): share of the KV cache × time, over prefill, decode and the pause after.

    Prefill and decode: the integral of memory over time by which MARS and LAMPS rank (prefill grows from the cached to
    all tokens; decode adds one token each token_s). Pause: the cheaper policy after InferCept, waste_preserve = d·C or
    waste_discard = T_fwd(C)·C + T_fwd(C)·C_other. Swap is left out, for vLLM's offloading connector decides on it.
    """
    tokens, uncached = columns[Column.TOKENS], columns[Column.UNCACHED_TOKENS]
    output = columns[Column.OUTPUT_TOKENS]
    context = tokens + output
    prefill = prefill_s(step, uncached, tokens) * (2 * tokens - uncached) / 2
    decode = engine.token_s * output * (tokens + (output + 1) / 2)
    preserve = columns[Column.PAUSE_S] * context
    discard = prefill_s(step, context, context) * (context + engine.running_tokens)
    pause = np.minimum(preserve, discard) * np.minimum(columns[Column.FUTURE_TURNS], 1.0)
    cost: Floats = (prefill + decode + pause) / engine.capacity_tokens
    return cost


def decode_s(columns: Floats, step: StepTime) -> Floats:
    """Engine time that the output still to come adds to its steps, shape (n,)."""
    token_s = step.per_decode_s + step.per_context_token_s * columns[Column.TOKENS]
    cost: Floats = token_s * columns[Column.OUTPUT_TOKENS]
    return cost


def cached_future_turns(future_turns: float, pause_s: float, decay_s: float) -> float:
    """Expected future turns of a session that find their context cached; exp(-pause / decay_s) of them do."""
    return future_turns * math.exp(-pause_s / decay_s)


def remaining_s(columns: Floats, step: StepTime) -> Floats:
    """Engine time of the session's future turns, decode and prefill, each as long as this one, shape (n,)."""
    turn_s = decode_s(columns, step) + prompt_s(step, columns[Column.NEW_TOKENS], columns[Column.TOKENS])
    cost: Floats = columns[Column.FUTURE_TURNS] * turn_s
    return cost


def slack_s(columns: Floats, engine: EngineState, uncached_s: Floats) -> Floats:
    """Time until the prefill must start to meet the deadline, shape (n,); 0 for turns that have their first token."""
    deadline_s = columns[Column.DEADLINE_S]
    return np.where(np.isinf(deadline_s), 0.0, deadline_s - engine.now_s - uncached_s)


def attained_s(columns: Floats, engine: EngineState, step: StepTime) -> Floats:
    """Attained service: prefill and decode time of the session's past turns, shape (n,)."""
    tokens, output = columns[Column.PAST_TOKENS], columns[Column.PAST_OUTPUT_TOKENS]
    service: Floats = prompt_s(step, tokens - output, tokens) + engine.token_s * output
    return service


def keys(columns: Floats, engine: EngineState, settings: SchedulerSettings) -> Floats:
    """Sort keys of shape (n,), lowest first: the class, and inside it the weighted sum of terms.

    The terms are those of models.serving.settings.ValueWeights; a term without weight is not computed. Turns that can
    still meet their deadline (or have their first token) form the first class, the others the second; overdue.py puts
    some turns before both. The cost of a prompt (uncached, stage_one) is divided among the turn and the future turns
    that reuse it. A turn whose value is not known is the last of its class. Weights {uncached: 1, all others 0} give
    the rule `uncached-first`.
    """
    weights, step = settings.weights, settings.step_time
    uncached_s: Floats = prefill_s(step, columns[Column.UNCACHED_TOKENS], columns[Column.TOKENS])
    value = weights.uncached * uncached_s
    if weights.stage_one:
        value += weights.stage_one * stage_one_s(columns, engine, step)
    if weights.future:
        value /= 1.0 + weights.future * columns[Column.CACHED_FUTURE_TURNS]
    if weights.output:
        value += weights.output * decode_s(columns, step)
    if weights.remaining:
        value += weights.remaining * remaining_s(columns, step)
    if weights.waiting:
        value -= weights.waiting * (engine.now_s - columns[Column.WAITING_SINCE_S])
    if weights.slack:
        value += weights.slack * slack_s(columns, engine, uncached_s)
    if weights.attained:
        value += weights.attained * attained_s(columns, engine, step)
    if weights.tenant and engine.tenants_s is not None:
        value += weights.tenant * engine.tenants_s[columns[Column.TENANT].astype(np.intp)]
    np.minimum(value, LIMIT_S, out=value)
    np.maximum(value, -LIMIT_S, out=value)
    value[np.isnan(value)] = LIMIT_S
    starts_s = engine.now_s + np.nan_to_num(uncached_s)
    value[starts_s > columns[Column.DEADLINE_S]] += CLASS_S
    return value
