"""MARS/LAMPS: least memory over time first, the tool call's under its best context policy included.

Shahout et al., "Fast Inference for Augmented Large Language Models" (NeurIPS 2025, as MARS; arXiv 2410.18248, as LAMPS;
github.com/mars-repository/mars-codebase): before a request runs, its output up to the next call and the call's duration
are predicted, the handling of the call that needs least memory is chosen, and requests are ranked by the integral of
memory over time that follows. A session of several calls is ranked call by call. Contexts are then kept by InferCept's
equations, decided at the call and anew while it lasts, which is no weaker than the paper's choice in advance.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from vllm.v1.request import Request

from ....models.serving.settings import StepTime
from ....runtime.vllm_compat import KvCache
from .infercept import GOES_ON_TURNS, InferCept
from .ranked import Floats

STARVED_KEY = -1e18
"""Before every integral: who has waited beyond max_wait_s, in order of arrival."""


def held(step: StepTime, token_s: float, tokens: Floats, cached: Floats, output: Floats) -> Floats:
    """MT: token·seconds of a prefill from `cached` to `tokens` and a decode of `output` tokens, each `token_s`."""
    prefill = (step.base_s + step.per_prefill_token_s * (tokens - cached)) * (tokens + cached) / 2
    return np.asarray(prefill + token_s * output * (tokens + (output + 1) / 2))


def integral(step: StepTime, token_s: float, columns: Floats) -> Floats:
    """Token·seconds of a turn, its call and what follows, shape (n,). Columns: prompt tokens, of these cached, output
    tokens, pause s, 1 where the session goes on or 0.

    preserve = MT(before) + C·d̂ + MT(after); discard = MT(before) + MT(before + after), the context computed again.
    What follows a call is taken to be as long as what came before it.
    """
    prompt, cached, output, pause_s, goes_on = columns
    context = prompt + output
    preserve = pause_s * context + token_s * output * (context + (output + 1) / 2)
    discard = held(step, token_s, context, np.zeros_like(context), output)
    return np.asarray(held(step, token_s, prompt, cached, output) + goes_on * np.minimum(preserve, discard))


class Mars(InferCept):
    WIDTH = 6

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._kv_cache = KvCache(self.kv_cache_manager)

    def describe(self, request: Request) -> Sequence[float]:
        forecast = self._forecasts[request.request_id]
        return (
            request.num_tokens,
            self._kv_cache.cached_tokens(request),
            max(forecast.output_tokens - request.num_output_tokens, 1.0),
            forecast.pause_s,
            float(forecast.remaining_turns >= GOES_ON_TURNS),
            request.arrival_time,
        )

    def keys(self, columns: Floats) -> Floats:
        step, arrival_s = self._settings.step_time, columns[5]
        token_s = step.base_s + step.per_decode_s * len(self.running) + step.per_context_token_s * self._other_tokens
        ranked = integral(step, token_s, columns[:5])
        starved = self._clock() - arrival_s > self._settings.max_wait_s
        return np.where(starved, STARVED_KEY + arrival_s * 1e9, ranked)
