"""The order of the waiting queue: columns kept up to date, valued each step."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...models.serving.residual import residual_quantiles
from ...models.serving.settings import SchedulerSettings
from ..guard import Guard
from ..prediction.forecaster import FALLBACK
from ..sessions.live_turn import Forecast, LiveTurn
from ..vllm_compat import KvCache, Request
from .head_of_line import Demand, PassingOver, block_demand
from .overdue import OverdueTurns
from .tenants import TenantService, slot_of
from .value import CLASS_S, Column, Floats, Load, decode_step_s, keys, soon_turns
from .waiting_queue import WaitingQueue

RESERVED = -3 * CLASS_S
"""Key of the turn that has a reservation: before all others."""
PROBES = 16
"""Of the foremost requests, so many have their cached tokens looked up in a step."""
ROTATING = 8
"""And so many of all, in rotation."""
SLOW_PROBES = (2, 1)
"""The same two where a look-up walks over all blocks of a prompt: several groups of layers, a draft model."""


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
        room: Callable[[], int] | None = None,
        kept: Callable[[Any], int] = lambda _: 0,
    ) -> None:
        """`room`: free blocks of the KV cache for those that wait; None where it cannot be told: nobody is passed over
        then. `kept`: how often paused sessions hold a block that `room` counts as free."""
        self._settings = settings
        self._kv_cache = kv_cache
        self._turns = turns
        self._guard = guard
        self._clock = clock
        self._shadow = shadow
        self._next_probe = 0
        self._room = room
        self._kept = kept
        admission = settings.admission
        self._overdue = OverdueTurns(settings.max_wait_s, admission.overdue_share)
        self._passing = PassingOver(admission.pass_over_s, settings.max_wait_s) if admission.pass_over_s else None
        self.tenants = TenantService(settings.step_time, clock)
        self.queue = WaitingQueue(len(Column), self._describe, by_priority)

    def rank(self, now_s: float, running: int, token_budget: int) -> bool:
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
            tenants_s=self.tenants.accounts(now_s) if self._settings.weights.tenant else None,
        )
        values = keys(self.queue.columns, load, self._settings)
        self._overdue.put_first(values, self.queue, now_s, token_budget)
        if self._passing is not None and (reserved := self._passing.reserved(self.queue, now_s)) is not None:
            values[self.queue.slot(reserved)] = RESERVED
        reorders = self.queue.reorders(values)
        if not self._shadow:
            self.queue.rank(values)
            self._guard.call("admission", lambda: self._let_pass(now_s, token_budget), None)
        return reorders

    def late_s(self, now_s: float) -> float:
        """Engine time to compute the prompts of those that wait and are late already."""
        if not self.queue:
            return 0.0
        columns = self.queue.columns
        late = columns[Column.DEADLINE_S] < now_s
        return float(columns[Column.UNCACHED_TOKENS][late].sum()) * self._settings.step_time.per_prefill_token_s

    def _let_pass(self, now_s: float, token_budget: int) -> None:
        """Turns that the free KV cache cannot hold step behind smaller ones."""
        if self._passing is None or self._room is None:
            return
        if self.longest_tokens <= self._kv_cache.free_tokens / 2:
            return  # plenty for any: not worth counting
        free_blocks = self._room()
        self._passing.arrange(self.queue, self._demand, free_blocks, token_budget, now_s)

    def _demand(self, request: Request, free_blocks: int) -> Demand:
        return block_demand(self._kv_cache, request, self.cached_tokens(request), free_blocks, self._kept)

    def cached_tokens(self, request: Request) -> int:
        """Of a request that waits, as looked up last."""
        columns, slot = self.queue.columns, self.queue.slot(request)
        return int(columns[Column.TOKENS, slot] - columns[Column.UNCACHED_TOKENS, slot])

    @property
    def longest_tokens(self) -> int:
        """Of those that wait."""
        return int(self.queue.columns[Column.TOKENS].max()) if self.queue else 0

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
            token_budget -= max(int(columns[Column.UNCACHED_TOKENS, slot]), 1)
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
        future_turns = max(forecast.remaining_turns - 1.0, 0.0)
        tokens = request.num_tokens
        deadline_s = request.arrival_time + self._settings.slo.ttft_s
        return (
            request.arrival_time if live is None else live.waiting_since_s,
            float("inf") if request.num_output_tokens else deadline_s,
            tokens,
            tokens - self._kv_cache.cached_tokens(request),
            tokens if live is None else live.new_tokens,
            remaining_output(forecast, request.num_output_tokens, request.max_tokens),
            future_turns,
            soon_turns(future_turns, forecast.pause_s, self._settings.weights.soon_s),
            forecast.pause_s,
            0 if live is None else request.num_prompt_tokens - live.new_tokens,
            0 if live is None else live.past_output_tokens,
            slot_of(None if live is None else live.hints.tenant),
        )

    def _probe(self) -> None:
        """Look up the cached tokens of the foremost, and of some others in rotation: the prefix cache changes."""
        queue, columns = self.queue, self.queue.columns
        foremost, rotating = (PROBES, ROTATING) if self._kv_cache.bisects else SLOW_PROBES
        for request in queue.head(foremost):
            slot = queue.slot(request)
            if slot is not None:
                self._look_up(columns, slot)
        count = len(queue)
        if self._next_probe >= count:
            self._next_probe = 0
        end = min(self._next_probe + rotating, count)
        for slot in range(self._next_probe, end):
            self._look_up(columns, slot)
        self._next_probe = end

    def _look_up(self, columns: Floats, slot: int) -> None:
        tokens, uncached = columns.item(Column.TOKENS, slot), columns.item(Column.UNCACHED_TOKENS, slot)
        known = int(tokens - uncached)
        cached = self._kv_cache.cached_tokens(self.queue.requests[slot], known)
        if cached != known:
            columns[Column.UNCACHED_TOKENS, slot] = tokens - cached


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
