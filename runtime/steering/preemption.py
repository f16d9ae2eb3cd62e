"""Which running request goes when the KV cache is full: the cheapest to lose, not the latest.

vLLM preempts the last of its `running` list. So, where the next step may find too few free blocks, those that are the
cheapest to lose are moved to its end; nothing else of vLLM's way is touched, and the order of `running` says nothing
else (vLLM walks along it to hand out tokens, and decodes come before the prompts that use up a step's budget, but for
those that are to go). By the caller's priority vLLM looks for its victim itself: then nothing is moved.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...models.serving.settings import SchedulerSettings
from ..prediction.forecaster import FALLBACK
from ..queueing.value import prefill_s
from ..sessions.live_turn import LiveTurn
from ..vllm_compat import AsyncScheduler, KvCache, Request, step_demand

REVIEW_S = 0.1
"""The order is judged anew no more often than this: it stays where it is put."""
MAX_VICTIMS = 8
"""As many are moved at most."""


class Judge(Protocol):
    def losses(self, running: Sequence[Request], now_s: float) -> NDArray[np.float64]:
        """What it costs to preempt each, shape (n,)."""
        ...


class PreemptionOrder:
    """Puts those that `judge` finds the cheapest to lose where vLLM takes its victims."""

    def __init__(
        self,
        scheduler: AsyncScheduler,
        kv_cache: KvCache,
        judge: Judge,
        clock: Callable[[], float],
        running_demand: Callable[[], int],
    ) -> None:
        """`running_demand`: free blocks that the running requests take in the next step."""
        self._running_demand = running_demand
        self._scheduler = scheduler
        self._kv_cache = kv_cache
        self._judge = judge
        self._clock = clock
        self._reviewed_s = float("-inf")

    def before_step(self) -> None:
        """Costs next to nothing while there are plenty of free blocks."""
        now_s, scheduler, free_blocks = self._clock(), self._scheduler, self._kv_cache.free_blocks
        if 0 <= now_s - self._reviewed_s < REVIEW_S or free_blocks >= step_demand(scheduler):
            return
        missing = self._running_demand() - free_blocks
        if missing > 0:
            self._reviewed_s = now_s
            losses = self._judge.losses(scheduler.running, now_s)
            move_last(scheduler.running, losses, missing * self._kv_cache.block_tokens)


def move_last(running: list[Request], losses: NDArray[np.float64], missing_tokens: int) -> None:
    """Move those to the end of `running` whose memory makes up for what is missing, the cheapest to lose last; of
    equals the latest is the cheapest."""
    victims: list[int] = []
    latest_first = np.argsort(losses[::-1], kind="stable")
    for index in (len(running) - 1 - latest_first[:MAX_VICTIMS]).tolist():
        if missing_tokens <= 0:
            break
        victims.append(index)
        missing_tokens -= running[index].num_computed_tokens
    chosen = set(victims)
    last = [running[index] for index in reversed(victims)]
    running[:] = [each for index, each in enumerate(running) if index not in chosen] + last


class LossJudge:
    """Judges by what a turn would lose, by what it would go on to hold, and by whether it can still be in time."""

    def __init__(self, settings: SchedulerSettings, turns: Mapping[str, LiveTurn]) -> None:
        self._slo = settings.slo
        self._step = settings.step_time
        self._turns = turns

    def losses(self, running: Sequence[Request], now_s: float) -> NDArray[np.float64]:
        """What it costs to preempt each, shape (n,): seconds of the engine's time a token·token of KV memory and of
        decoding that it frees. Lost is the time to compute again what it holds, and with a turn that can still meet
        the SLO the whole turn; freed is what it holds, for as long as it would decode."""
        held = np.array([max(each.num_computed_tokens, 1) for each in running], np.float64)
        rest = np.array([self._rest_tokens(each) for each in running], np.float64)
        in_time = np.array([not self._is_late(each, now_s) for each in running])
        lost_s = prefill_s(self._step, held)
        lost_s[in_time] += IN_TIME_S
        losses: NDArray[np.float64] = lost_s / (held * rest)
        return losses

    def _rest_tokens(self, request: Request) -> float:
        """Output still to come: of a forecast that has proved too short, as much again as has come."""
        live = self._turns.get(request.request_id)
        forecast = FALLBACK if live is None or live.forecast is None else live.forecast
        generated = request.num_output_tokens
        rest = forecast.output_tokens - generated if generated < forecast.output_tokens else generated
        return max(min(rest, request.max_tokens - generated), 1.0)

    def _is_late(self, request: Request, now_s: float) -> bool:
        """Whether the turn has missed its SLO, or cannot but miss it."""
        live = self._turns.get(request.request_id)
        if live is None or request.resumable:  # of a streaming session only its first input's times are known
            return False
        if live.first_token_s is None:
            return now_s - live.arrival_s > self._slo.ttft_s
        if live.first_token_s - live.arrival_s > self._slo.ttft_s:
            return True
        tokens = request.num_output_tokens - 1
        return tokens > 0 and now_s - live.first_token_s > 2 * self._slo.tpot_s * max(tokens, SETTLED_TOKENS)


IN_TIME_S = 1e6
"""Added for a turn that may be in time: those that are late go first, whatever they hold."""
SETTLED_TOKENS = 20
"""The pace of fewer tokens tells nothing yet."""
