"""Orders by the prompt tokens that the prefix cache does not hold: those that predict nothing."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.request import Request, RequestStatus

from ....runtime.queueing.value import prefill_s
from ....runtime.vllm_compat import KvCache
from .ranked import Floats, RankedScheduler, keys_of

REFRESHED = 128
"""Requests whose cached tokens are looked up again in each step, in rotation: blocks are evicted meanwhile."""


class UncachedRanked(RankedScheduler):
    """The first number of a request is its uncached tokens."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._kv_cache = KvCache(self)
        self._next = 0

    def uncached_tokens(self, request: Request) -> int:
        return request.num_tokens - self._kv_cache.cached_tokens(request)

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        count = len(self._queue)
        for offset in range(min(REFRESHED, count)):
            slot = (self._next + offset) % count
            self._queue.columns[0, slot] = self.uncached_tokens(self._queue.requests[slot])
        self._next = (self._next + REFRESHED) % max(count, 1)
        return super().schedule(throttle_prefills)


class UncachedFirst(UncachedRanked):
    """Turns that can meet their TTFT limit first, then fewest uncached tokens.

    Describes a request by the deadline of its first token too, +inf once that is sent. The rule is our own, found on
    this simulator. It resembles the longest-prefix-match order of Zheng et al., "SGLang: Efficient Execution of
    Structured Language Model Programs" (NeurIPS 2024, arXiv 2312.07104).
    """

    WIDTH = 3

    def describe(self, request: Request) -> Sequence[float]:
        deadline_s = request.arrival_time + self._settings.slo.ttft_s
        uncached = self.uncached_tokens(request)
        return uncached, request.num_tokens, float("inf") if request.num_output_tokens else deadline_s

    def keys(self, columns: Floats) -> Floats:
        uncached, tokens, deadline_s = columns
        late = self._clock() + prefill_s(self._settings.step_time, uncached, tokens) > deadline_s
        return np.asarray(np.where(late, 1e9, 0.0) + uncached)


class ResidualShortestFirst(UncachedRanked):
    """Fewest uncached KV blocks first, of equals by arrival. Preempted requests go before them, then those that have
    waited for MAX_WAIT_S, by arrival.

    vLLM pull request 51375, with the limit on waits of its twin in xLLM (pull request 2164).
    """

    WIDTH = 3
    MAX_WAIT_S = 10.0

    def describe(self, request: Request) -> Sequence[float]:
        preempted = request.status == RequestStatus.PREEMPTED
        return self.uncached_tokens(request), request.arrival_time, float(preempted)

    def keys(self, columns: Floats) -> Floats:
        uncached, arrived_s, preempted = columns
        aged = self._clock() - arrived_s >= self.MAX_WAIT_S
        blocks = np.where(aged, 0.0, uncached // self.block_size)
        return keys_of(np.lexsort((arrived_s, blocks, ~aged, preempted == 0.0)))
