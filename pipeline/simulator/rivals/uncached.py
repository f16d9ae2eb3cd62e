"""The strongest known rule without learning: turns that can meet their TTFT limit, by fewest uncached tokens."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.request import Request

from ....runtime.vllm_compat import KvCache
from .ranked import Floats, RankedScheduler

REFRESHED = 128
"""Requests whose cached tokens are looked up again in each step, in rotation: blocks are evicted meanwhile."""


class UncachedFirst(RankedScheduler):
    """Describes a request by its uncached tokens and the deadline of its first token, +inf once that is sent.

    The rule is our own, found on this simulator. It resembles the longest-prefix-match order of Zheng et al., "SGLang:
    Efficient Execution of Structured Language Model Programs" (NeurIPS 2024, arXiv 2312.07104).
    """

    WIDTH = 2

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._kv_cache = KvCache(self)
        self._next = 0

    def describe(self, request: Request) -> Sequence[float]:
        deadline_s = request.arrival_time + self._settings.slo.ttft_s
        uncached = request.num_tokens - self._kv_cache.cached_tokens(request)
        return uncached, float("inf") if request.num_output_tokens else deadline_s

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        count = len(self._queue)
        for offset in range(min(REFRESHED, count)):
            slot = (self._next + offset) % count
            request = self._queue.requests[slot]
            self._queue.columns[0, slot] = request.num_tokens - self._kv_cache.cached_tokens(request)
        self._next = (self._next + REFRESHED) % max(count, 1)
        return super().schedule(throttle_prefills)

    def keys(self, columns: Floats) -> Floats:
        uncached, deadline_s = columns
        step = self._settings.step_time
        late = self._clock() + step.base_s + step.per_prefill_token_s * uncached > deadline_s
        return np.asarray(np.where(late, 1e9, 0.0) + uncached)
