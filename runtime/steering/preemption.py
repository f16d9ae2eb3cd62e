"""Which running request vLLM preempts when the KV cache is full: the cheapest to lose, not the latest.

vLLM preempts the last running request, so the cheapest victims are moved to the end before a step that may lack free
blocks. Under FCFS the order of running requests has no other meaning. Under priority scheduling vLLM picks the victim
itself, and nothing is moved.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...models.serving.settings import SchedulerSettings
from .. import vllm_compat
from ..engine import Engine
from ..queueing.value import prefill_s
from ..sessions.live_turn import forecast_of
from ..vllm_compat import Request

REVIEW_S = 0.1
"""Least time between two reviews; the order stays as it is in between."""
MAX_VICTIMS = 8
"""Requests that are moved at once, at most."""
IN_TIME_S = 1e6
"""Added to the loss of a turn that can still meet its SLO, so that late turns go first whatever they occupy."""
SETTLED_TOKENS = 20
"""With fewer output tokens the pace of a turn is not judged."""


class PreemptionOrder:
    """Moves the running requests with the least losses to where vLLM takes its victims."""

    def __init__(self, settings: SchedulerSettings, engine: Engine) -> None:
        self._slo = settings.slo
        self._step = settings.step_time
        self._engine = engine
        self._applied = engine.active and not vllm_compat.orders_by_priority(engine.scheduler)
        self._reviewed_s = float("-inf")

    def before_step(self) -> None:
        """Costs next to nothing while there are enough free blocks."""
        if not self._applied:
            return
        engine = self._engine
        now_s, free_blocks = engine.clock(), engine.kv_cache.free_blocks
        if 0 <= now_s - self._reviewed_s < REVIEW_S or free_blocks >= vllm_compat.step_demand(engine.scheduler):
            return
        missing_blocks = engine.running_demand.blocks() - free_blocks
        if missing_blocks > 0:
            self._reviewed_s = now_s
            running = vllm_compat.running_requests(engine.scheduler)
            missing_tokens = missing_blocks * engine.kv_cache.block_tokens
            vllm_compat.move_to_end(engine.scheduler, victims(running, self.losses(running, now_s), missing_tokens))

    def losses(self, running: Sequence[Request], now_s: float) -> NDArray[np.float64]:
        """Loss of preempting each request, shape (n,): engine seconds per token of KV memory and token of decoding.

        Lost is the time to compute the request's tokens again, and the whole turn if it can still meet its SLO. Freed
        is the memory of these tokens, for as long as the request would decode.
        """
        computed = np.array([max(request.num_computed_tokens, 1) for request in running], np.float64)
        remaining = np.array([self._remaining_tokens(request) for request in running], np.float64)
        in_time = np.array([not self._is_late(request, now_s) for request in running])
        lost_s = prefill_s(self._step, computed, computed)
        lost_s[in_time] += IN_TIME_S
        losses: NDArray[np.float64] = lost_s / (computed * remaining)
        return losses

    def _remaining_tokens(self, request: Request) -> float:
        """Output still to come; a turn that outlasts its forecast is expected to generate as much again."""
        forecast = forecast_of(self._engine.turns.get(request.request_id))
        generated = request.num_output_tokens
        rest = forecast.output_tokens - generated if generated < forecast.output_tokens else generated
        return max(min(rest, request.max_tokens - generated), 1.0)

    def _is_late(self, request: Request, now_s: float) -> bool:
        """Whether the turn has missed its SLO, or is certain to miss it."""
        live = self._engine.turns.get(request.request_id)
        if live is None or request.resumable:  # of a streaming session only the first input's times are known
            return False
        if live.first_token_s is None:
            return now_s - live.arrival_s > self._slo.ttft_s
        if live.first_token_s - live.arrival_s > self._slo.ttft_s:
            return True
        tokens = request.num_output_tokens - 1
        return tokens > 0 and now_s - live.first_token_s > 2 * self._slo.tpot_s * max(tokens, SETTLED_TOKENS)


def victims(running: Sequence[Request], losses: NDArray[np.float64], missing_tokens: int) -> list[Request]:
    """The cheapest requests to lose that together free `missing_tokens` of KV memory; the cheapest comes last, and of
    equal losses the latest is the cheapest."""
    chosen: list[Request] = []
    latest_first = np.argsort(losses[::-1], kind="stable")
    for index in (len(running) - 1 - latest_first[:MAX_VICTIMS]).tolist():
        if missing_tokens <= 0:
            break
        chosen.append(running[index])
        missing_tokens -= running[index].num_computed_tokens
    return chosen[::-1]
