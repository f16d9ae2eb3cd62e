"""The engine time that waiting and running turns are expected to take."""

import numpy as np

from ...models.serving.settings import SchedulerSettings
from .. import vllm_compat
from ..engine import Engine
from ..queueing.value import Column, Floats
from ..queueing.waiting_queue import Slots, WaitingQueue
from ..sessions.live_turn import forecast_of

TELL_S = 0.1
"""Least time between two values of the gauge."""


class ExpectedWork:
    """The prompts of turns, their outputs, and the fixed time of the steps for both."""

    def __init__(self, settings: SchedulerSettings, engine: Engine, queue: WaitingQueue) -> None:
        self._settings = settings
        self._engine = engine
        self._queue = queue
        self._told_s = float("-inf")

    def tell(self, now_s: float) -> None:
        """Set the gauge of the backlog, if its value is old."""
        if not 0 <= now_s - self._told_s < TELL_S:
            self._told_s = now_s
            self._engine.metrics.backlog.set(self.backlog_s())

    def backlog_s(self) -> float:
        """Of all turns that wait or run."""
        waiting = self._queue.columns[[Column.TOKENS, Column.UNCACHED_TOKENS, Column.OUTPUT_TOKENS]]
        return self._work_s(*np.hstack([waiting, self._running()]))

    def waiting_s(self, slots: Slots) -> float:
        """Of the waiting turns in these slots."""
        columns = self._queue.columns[:, slots]
        return self._work_s(columns[Column.TOKENS], columns[Column.UNCACHED_TOKENS], columns[Column.OUTPUT_TOKENS])

    def _running(self) -> Floats:
        """Tokens, prompt tokens to compute and expected output of the running turns, shape (3, n)."""
        turns = self._engine.turns
        rows = [
            (
                float(request.num_tokens),
                float(max(request.num_prompt_tokens - request.num_computed_tokens, 0)),
                max(forecast_of(turns.get(request.request_id)).output_tokens - request.num_output_tokens, 1.0),
            )
            for request in vllm_compat.running_requests(self._engine.scheduler)
        ]
        return np.array(rows, float).reshape(-1, 3).T

    def _work_s(self, tokens: Floats, uncached: Floats, outputs: Floats) -> float:
        if not tokens.size:
            return 0.0
        step, scheduler = self._settings.step_time, self._engine.scheduler
        decode_s = float(np.nansum((step.per_decode_s + step.per_context_token_s * tokens) * outputs))
        outputs = np.nan_to_num(outputs, nan=1.0)
        seats = vllm_compat.free_seats(scheduler) + vllm_compat.running_count(scheduler)
        at_once = max(min(seats, self._engine.kv_cache.capacity_tokens / float((tokens + outputs / 2).mean())), 1.0)
        prompt_tokens = float(uncached.sum())
        steps = max(float(outputs.sum()) / at_once, prompt_tokens / vllm_compat.token_budget(scheduler))
        return prompt_tokens * step.per_prefill_token_s + decode_s + steps * step.base_s
