"""The order of the waiting queue: keeps its columns up to date and ranks it by value each step."""

from collections.abc import Sequence

import numpy as np

from ...models.serving.residual import residual_quantiles
from ...models.serving.settings import SchedulerSettings
from .. import vllm_compat
from ..engine import Engine
from ..sessions.live_turn import Forecast, forecast_of
from ..vllm_compat import Request
from .free_room import Demand, FreeRoom
from .head_of_line import PassingOver
from .look_up import look_up
from .overdue import OverdueTurns
from .tenants import TenantService
from .value import CLASS_S, Column, EngineState, cached_future_turns, decode_step_s, keys, prompt_s
from .waiting_queue import HELD, Slots, WaitingQueue

RESERVED = -3 * CLASS_S
"""Key of the turn with a reservation: before all others."""
FOREMOST_PROBES = 16
"""Requests at the front whose cached tokens are looked up in a step."""
ROTATING_PROBES = 8
"""Further requests in rotation."""
SLOW_PROBES = (2, 1)
"""Both limits where a look-up walks over all blocks of a prompt: several groups of layers, a draft model."""


class Ordering:
    """Owns the waiting queue and ranks it by value."""

    def __init__(self, settings: SchedulerSettings, engine: Engine, room: FreeRoom, tenants: TenantService) -> None:
        self.room = room
        self._settings = settings
        self._engine = engine
        self._kv_cache = engine.kv_cache
        self._tenants = tenants
        self._next_probe = 0
        admission = settings.admission
        self._overdue = OverdueTurns(settings.max_wait_s, admission.overdue_share)
        self._passes_over = admission.pass_over_s > 0 and room.is_countable
        self.passing_over = PassingOver(admission.pass_over_s, settings.max_wait_s)
        by_priority = vllm_compat.orders_by_priority(engine.scheduler)
        self.queue = WaitingQueue(len(Column), self._describe, by_priority)

    def rank(self, now_s: float, held: Slots) -> None:
        """Rank all waiting turns but those that are `held`; shadow mode only counts whether another turn would go
        first. Raises ValueError where no waiting turn could be described."""
        if not len(self.queue):
            return
        self._probe()
        if np.isnan(self.queue.columns[Column.OUTPUT_TOKENS]).all():
            raise ValueError("none of the waiting turns could be described")
        token_budget = vllm_compat.token_budget(self._engine.scheduler)
        values = keys(self.queue.columns, self._engine_state(now_s), self._settings)
        values[held] = HELD
        self._overdue.put_first(values, self.queue, now_s, token_budget)
        if (reserved := self.passing_over.reserved(self.queue, now_s)) is not None:
            values[self.queue.slot(reserved)] = RESERVED
        reorders = self.queue.reorders(values)
        if self._engine.active:
            self.queue.rank(values)
            self._engine.guard.attempt("admission", self._pass_over, now_s, token_budget)
        if reorders:
            self._engine.metrics.reorders.inc()

    def late_s(self, now_s: float) -> float:
        """Engine time of the prompts of the waiting turns that have missed their deadline."""
        columns = self.queue.columns
        late = columns[:, columns[Column.DEADLINE_S] < now_s]
        step = self._settings.step_time
        return float(prompt_s(step, late[Column.UNCACHED_TOKENS], late[Column.TOKENS]).sum())

    def cached_tokens(self, request: Request) -> int:
        """Cached tokens of a waiting request at its last look-up."""
        columns, slot = self.queue.columns, self.queue.slot(request)
        return int(columns[Column.TOKENS, slot] - columns[Column.UNCACHED_TOKENS, slot])

    @property
    def longest_tokens(self) -> int:
        """Tokens of the longest waiting turn."""
        return int(self.queue.columns[Column.TOKENS].max()) if len(self.queue) else 0

    def admissible(self, count: int, token_budget: int) -> list[Request]:
        """The first requests, `count` at most, whose uncached tokens fill the step's budget."""
        admissible, columns = [], self.queue.columns
        for request in self.queue.foremost(count):
            if token_budget <= 0:
                break
            admissible.append(request)
            token_budget -= max(int(columns[Column.UNCACHED_TOKENS, self.queue.slot(request)]), 1)
        return admissible

    def _engine_state(self, now_s: float) -> EngineState:
        used_tokens = self._kv_cache.usage * self._kv_cache.capacity_tokens
        running = vllm_compat.running_count(self._engine.scheduler)
        return EngineState(
            now_s=now_s,
            token_s=decode_step_s(self._settings.step_time, running, used_tokens),
            running_tokens=used_tokens,
            capacity_tokens=self._kv_cache.capacity_tokens,
            tenants_s=self._tenants.accounts(now_s) if self._settings.weights.tenant else None,
        )

    def _pass_over(self, now_s: float, token_budget: int) -> None:
        """Move turns that do not fit into the free KV cache behind smaller ones."""
        if self._passes_over and self.queue and not self.room.is_plentiful(self.longest_tokens):
            self.passing_over.arrange(self.queue, self._demand, self.room.blocks(), token_budget, now_s)

    def _demand(self, request: Request, free_blocks: int) -> Demand:
        return self.room.demand(request, self.cached_tokens(request), free_blocks)

    def _describe(self, request: Request) -> Sequence[float]:
        """The request's row, in the order of `Column`. vLLM's own calls end here, so it must not raise."""
        row = self._engine.guard.call("description", self._row, request, fallback=None)
        return _unknown(request) if row is None else row

    def _row(self, request: Request) -> Sequence[float]:
        live = self._engine.turns.get(request.request_id)
        forecast = forecast_of(live)
        future_turns = max(forecast.remaining_turns - 1.0, 0.0)
        tokens = request.num_tokens
        past_tokens = 0 if live is None else request.num_prompt_tokens - live.new_tokens
        likely = 0 if self._kv_cache.chained else past_tokens  # where look-ups take too long
        arrival_s = self._engine.clock() if live is None else live.arrival_s
        deadline_s = arrival_s + self._settings.slo.ttft_s
        return (
            arrival_s if live is None else arrival_s - live.refused_s,
            float("inf") if request.num_output_tokens else deadline_s,
            tokens,
            tokens - self._kv_cache.cached_tokens(request, likely),
            tokens if live is None else live.new_tokens,
            remaining_output(forecast, request.num_output_tokens, request.max_tokens),
            future_turns,
            cached_future_turns(future_turns, forecast.pause_s, self._settings.weights.soon_s),
            forecast.pause_s,
            past_tokens,
            0 if live is None else live.past_output_tokens,
            self._tenants.slot_of(None if live is None else live.hints.tenant),
            vllm_compat.adapter_number(request),
            1.0 if vllm_compat.lacks_grammar(request) else 0.0,
            1.0 if live is None or live.admitted or request.num_output_tokens else 0.0,
        )

    def _probe(self) -> None:
        """Look up the cached tokens of the first requests and of some others in rotation: the prefix cache changes."""
        queue, columns, guard = self.queue, self.queue.columns, self._engine.guard
        foremost, rotating = (FOREMOST_PROBES, ROTATING_PROBES) if self._kv_cache.chained else SLOW_PROBES
        for request in queue.head(foremost):
            slot = queue.slot(request)
            if slot is not None:
                guard.attempt("description", look_up, columns, slot, request, self._kv_cache)
        count = len(queue)
        if self._next_probe >= count:
            self._next_probe = 0
        end = min(self._next_probe + rotating, count)
        for slot in range(self._next_probe, end):
            guard.attempt("description", look_up, columns, slot, queue.requests[slot], self._kv_cache)
        self._next_probe = end


def remaining_output(forecast: Forecast, generated: int, max_tokens: int) -> float:
    """Median of the output tokens still to come, at least 1, given the tokens generated so far.

    Only a preempted request has generated tokens while it waits; the forecast's interval then gives the distribution.
    """
    left = forecast.output_tokens - generated
    if generated and forecast.output_interval is not None:
        low, high = forecast.output_interval
        predicted = np.array([[low, forecast.output_tokens, high]], np.float32)
        left = float(residual_quantiles(predicted, np.array([float(generated)]))[0, 1])
    return max(min(left, max_tokens - generated), 1.0)


def _unknown(request: Request) -> Sequence[float]:
    """The row of a request that cannot be described: what it needs is known, what it is worth is not."""
    row = dict.fromkeys(Column, float("nan"))
    tokens = request.num_tokens
    row |= {Column.WAITING_SINCE_S: request.arrival_time, Column.DEADLINE_S: float("inf")}
    row |= {Column.TOKENS: tokens, Column.UNCACHED_TOKENS: tokens, Column.NEW_TOKENS: tokens}
    row |= {Column.TENANT: 0.0, Column.ADAPTER: 0.0, Column.LACKS_GRAMMAR: 0.0, Column.ADMITTED: 1.0}
    return tuple(row.values())
