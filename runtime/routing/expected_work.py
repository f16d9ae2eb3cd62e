"""The engine time that waiting and running turns are expected to take."""

import math

import numpy as np

from ...models.serving.settings import SchedulerSettings
from .. import vllm_compat
from ..engine import Engine
from ..publisher import shared_folder
from ..queueing.value import Column, Floats, prompt_s
from ..queueing.waiting_queue import Slots, WaitingQueue
from ..sessions.live_turn import forecast_of
from .load_notice import LoadWriter

TELL_S = 0.1
"""Least time between two values of the gauge."""


class ExpectedWork:
    """The prompts of turns, their outputs, and the fixed time of the steps for both."""

    def __init__(
        self,
        settings: SchedulerSettings,
        engine: Engine,
        queue: WaitingQueue,
        before: "ExpectedWork | None" = None,
    ) -> None:
        """`before`: what told the API servers until now."""
        self._settings = settings
        self._engine = engine
        self._queue = queue
        self._told_s = float("-inf")
        self._turn_s = 0.0  # of the mean turn that was told last
        self.writer: LoadWriter | None = None if before is None else before.writer

    def tell(self, now_s: float) -> None:
        """Set the gauge of the backlog, and tell the API servers, if the last value is old."""
        if 0 <= now_s - self._told_s < TELL_S:
            return
        self._told_s = now_s
        backlog_s, engine = self.backlog_s(), self._engine
        engine.metrics.backlog.set(backlog_s)
        if turns := len(self._queue) + vllm_compat.running_count(engine.scheduler):
            self._turn_s = backlog_s / turns
        if self.writer is None and (folder := shared_folder()) is not None:
            self.writer = LoadWriter(folder, vllm_compat.engine_number(engine.scheduler))
        if self.writer is not None:
            self.writer.tell(backlog_s if engine.active else math.nan, self._turn_s)

    def fall_silent(self) -> None:
        """Let vLLM's balancer choose, until something is told again."""
        if self.writer is not None:
            self.writer.tell(math.nan, 0.0)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()

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
        return float(prompt_s(step, uncached, tokens).sum()) + decode_s + steps * step.base_s
