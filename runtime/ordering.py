"""The order of the waiting queue: columns kept up to date, valued each step."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..models.residual import residual_quantiles
from ..models.settings import SchedulerSettings
from .guard import Guard
from .prediction import FALLBACK
from .queue import WaitingQueue
from .turns import Forecast, LiveTurn
from .value import Column, Load, decode_step_s, keys
from .vllm_compat import KvCache, Request

PROBES = 16
"""Requests whose cached tokens are looked up in a step: so many of the foremost, and as many in rotation."""


class Ordering:
    """Owns the waiting queue and ranks it by value. In shadow mode it values, and leaves vLLM's own order."""

    def __init__(
        self,
        settings: SchedulerSettings,
        kv_cache: KvCache,
        turns: Mapping[str, LiveTurn],
        guard: Guard,
        clock: Callable[[], float],
        by_priority: bool,
        shadow: bool,
    ) -> None:
        self._settings = settings
        self._kv_cache = kv_cache
        self._turns = turns
        self._guard = guard
        self._clock = clock
        self._shadow = shadow
        self._next_probe = 0
        self.queue = WaitingQueue(len(Column), self._describe, by_priority)

    def rank(self, now_s: float, running: int) -> bool:
        """Rank all that wait; gives whether another one goes first than in vLLM's own order."""
        if not self.queue:
            return False
        self._probe()
        used = self._kv_cache.usage * self._kv_cache.capacity_tokens
        load = Load(
            now_s=now_s,
            token_s=decode_step_s(self._settings.step_time, running, used),
            running_tokens=used,
            capacity_tokens=self._kv_cache.capacity_tokens,
        )
        values = keys(self.queue.columns, load, self._settings)
        reorders = self.queue.reorders(values)
        if not self._shadow:
            self.queue.rank(values)
        return reorders

    def admissible(self, count: int, token_budget: int) -> list[Request]:
        """The foremost, `count` at most, as far as a step's tokens reach: their uncached ones fill the budget."""
        if not self.queue:
            return []
        self.queue.peek_request()  # puts the foremost in order
        admissible, columns = [], self.queue.columns
        for request in self.queue.head(count):
            slot = self.queue.slot(request)
            if token_budget <= 0 or slot is None:
                break
            admissible.append(request)
            token_budget -= max(int(columns[Column.TOKENS, slot] - columns[Column.CACHED_TOKENS, slot]), 1)
        return admissible

    def _describe(self, request: Request) -> Sequence[float]:
        """The request's columns, in the order of `Column`. vLLM's own calls end here: it must not raise."""
        return self._guard.call("description", lambda: self._row(request), _UNKNOWN)

    def _row(self, request: Request) -> Sequence[float]:
        live = self._turns.get(request.request_id)
        if live is not None and request.num_preemptions != live.preemptions:
            live.preemptions = request.num_preemptions
            live.waiting_since_s = self._clock()
        forecast = FALLBACK if live is None or live.forecast is None else live.forecast
        tokens = request.num_tokens
        deadline_s = request.arrival_time + self._settings.slo.ttft_s
        return (
            request.arrival_time if live is None else live.waiting_since_s,
            float("inf") if request.num_output_tokens else deadline_s,
            tokens,
            self._kv_cache.cached_tokens(request),
            tokens if live is None else live.new_tokens,
            remaining_output(forecast, request.num_output_tokens, request.max_tokens),
            max(forecast.remaining_turns - 1.0, 0.0),
            forecast.pause_s,
        )

    def _probe(self) -> None:
        """Look up the cached tokens of the foremost, and of some others in rotation: the prefix cache changes."""
        queue, cached = self.queue, self.queue.columns[Column.CACHED_TOKENS]
        for request in queue.head(PROBES):
            slot = queue.slot(request)
            if slot is not None:
                cached[slot] = self._kv_cache.cached_tokens(request, int(cached[slot]))
        count = len(queue)
        if self._next_probe >= count:
            self._next_probe = 0
        end = min(self._next_probe + PROBES, count)
        for slot in range(self._next_probe, end):
            cached[slot] = self._kv_cache.cached_tokens(queue.requests[slot], int(cached[slot]))
        self._next_probe = end


def remaining_output(forecast: Forecast, generated: int, max_tokens: int) -> float:
    """Output tokens still to come, in the median, at least 1: given what is generated, by the forecast's interval.

    Asked once a request that is queued, and of a distribution only for those that were preempted.
    """
    left = forecast.output_tokens - generated
    if generated and forecast.output_interval is not None:
        low, high = forecast.output_interval
        predicted = np.array([[low, forecast.output_tokens, high]], np.float32)
        left = float(residual_quantiles(predicted, np.array([float(generated)]))[0, 1])
    return max(min(left, max_tokens - generated), 1.0)


_UNKNOWN = tuple(float("nan") for _ in Column)
"""Makes the ranking fall back to vLLM's own order, rather than guess."""
