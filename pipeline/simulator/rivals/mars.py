"""MARS/LAMPS: least memory over time first, the memory during the tool call included."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from vllm.v1.request import Request

from ....models.serving.settings import StepTime
from ....runtime.queueing.value import prefill_s
from ....runtime.residency.worth import CONTINUING_TURNS
from ....runtime.vllm_compat import KvCache
from .infercept import InferCept
from .ranked import Floats

STARVED_KEY = -1e18
"""Below every integral: turns that have waited longer than max_wait_s go first, in order of arrival."""


def memory_time(step: StepTime, token_s: float, tokens: Floats, cached: Floats, output: Floats) -> Floats:
    """MT: token·seconds of a prefill from `cached` to `tokens` and a decode of `output` tokens, each `token_s`."""
    prefill = prefill_s(step, tokens - cached, tokens) * (tokens + cached) / 2
    return np.asarray(prefill + token_s * output * (tokens + (output + 1) / 2))


def integral(step: StepTime, token_s: float, columns: Floats) -> Floats:
    """Token·seconds of a turn, its tool call and the turn after it, shape (n,).

    Columns: prompt tokens, cached prompt tokens, output tokens, pause in s, 1 if the session continues or else 0.

    preserve = MT(before) + C·d̂ + MT(after); discard = MT(before) + MT(before + after), which recomputes the context.
    The output after a call is assumed to be as long as the output before it.
    """
    prompt, cached, output, pause_s, continues = columns
    context = prompt + output
    preserve = pause_s * context + token_s * output * (context + (output + 1) / 2)
    discard = memory_time(step, token_s, context, np.zeros_like(context), output)
    return np.asarray(memory_time(step, token_s, prompt, cached, output) + continues * np.minimum(preserve, discard))


class Mars(InferCept):
    """Ranks a request by the integral of its memory over time, given its predicted output and tool call.

    Shahout et al., "Fast Inference for Augmented Large Language Models" (NeurIPS 2025, as MARS; arXiv 2410.18248, as
    LAMPS; github.com/mars-repository/mars-codebase). A session of several calls is ranked call by call. The paper
    chooses between preserving and discarding in advance. Here InferCept's equations choose at the call and during it,
    which is at least as strong.
    """

    WIDTH = 6

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._kv_cache = KvCache(self)

    def describe(self, request: Request) -> Sequence[float]:
        forecast = self._forecasts[request.request_id]
        return (
            request.num_tokens,
            self._kv_cache.cached_tokens(request),
            max(forecast.output_tokens - request.num_output_tokens, 1.0),
            forecast.pause_s,
            float(forecast.remaining_turns >= CONTINUING_TURNS),
            request.arrival_time,
        )

    def keys(self, columns: Floats) -> Floats:
        step, arrival_s = self._settings.step_time, columns[5]
        token_s = step.base_s + step.per_decode_s * len(self.running) + step.per_context_token_s * self._running_tokens
        ranked = integral(step, token_s, columns[:5])
        starved = self._clock() - arrival_s > self._settings.max_wait_s
        return np.where(starved, STARVED_KEY + arrival_s * 1e9, ranked)
