"""Carries the context policy through a scheduler's events: what a finish leaves kept gives way before it hinders."""

from collections.abc import Callable

from ..models.settings import SchedulerSettings
from . import vllm_compat
from .context import ContextPolicy
from .guard import Guard
from .metrics import Metrics
from .ordering import Ordering
from .pins import Pins
from .turns import LiveTurn
from .vllm_compat import AsyncScheduler, BlockReferences, PauseState, RequestStatus, SchedulerOutput

HEADS = 32
"""Of the foremost waiting requests, so many at most are provided for in a step."""
_FINISHED = (RequestStatus.FINISHED_STOPPED, RequestStatus.FINISHED_LENGTH_CAPPED)


class ContextKeeper:
    """One a scheduler, in active mode with `retention.max_share` above 0. No method raises: what fails is counted as
    `context`, and everything that is kept is let go."""

    def __init__(
        self,
        scheduler: AsyncScheduler,
        settings: SchedulerSettings,
        ordering: Ordering,
        guard: Guard,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        self._scheduler = scheduler
        self._ordering = ordering
        self._guard = guard
        self._metrics = metrics
        self._clock = clock
        self._references = BlockReferences(scheduler.kv_cache_manager)
        wait_s = settings.slo.ttft_s * max(settings.retention.ttl_factor, 1.0)
        self.pins = Pins(self._references, ContextPolicy(settings), wait_s, metrics.pin_released)

    def turn_arrived(self, live: LiveTurn) -> None:
        request_id = live.request.request_id
        self._guarded(lambda: self.pins.turn_arrived(live.session_id, request_id, self._clock()))

    def turn_finishes(self, live: LiveTurn | None) -> None:
        """Before vLLM frees the blocks of a turn that has ended."""
        if live is not None and live.forecast is not None and live.request.status in _FINISHED:
            self._guarded(lambda: self._decide(live))

    def turn_ended(self, live: LiveTurn) -> None:
        self._guarded(lambda: self.pins.turn_ended(live.request.request_id))

    def before_step(self) -> None:
        if self.pins:
            self._guarded(self._make_room)

    def after_step(self, output: SchedulerOutput) -> None:
        if self.pins:
            self._guarded(lambda: self._note_step(output))
        self._metrics.pinned_tokens.set(self.pins.tokens)

    def release_all(self) -> None:
        self._guard.call("context release", self.pins.release_all, None)
        self._metrics.pinned_tokens.set(self.pins.tokens)

    def _guarded(self, decide: Callable[[], None]) -> None:
        def done() -> bool:
            decide()
            return True

        if not self._guard.call("context", done, False):
            self.release_all()

    def _decide(self, live: LiveTurn) -> None:
        if live.forecast is None or self._scheduler.pause_state != PauseState.UNPAUSED:
            return
        request = live.request
        kept = self.pins.keep(
            live.session_id, request, request.num_tokens, live.forecast, self._clock(), self._running_tokens()
        )
        self._metrics.context("preserve" if kept else "discard")

    def _make_room(self) -> None:
        now_s, running_tokens = self._clock(), self._running_tokens()
        self.pins.review(now_s, running_tokens)
        count = min(HEADS, vllm_compat.free_seats(self._scheduler))
        a_head = 2 + self._ordering.longest_tokens // self._references.block_tokens
        most = count * a_head * self._references.groups
        if self._references.free_blocks >= most + vllm_compat.step_demand(self._scheduler, (), lambda _: 0):
            return  # plenty for any: not worth counting
        heads = self._ordering.admissible(count, vllm_compat.token_budget(self._scheduler)) if count else ()
        blocks = vllm_compat.step_demand(self._scheduler, heads, self.pins.claimed_blocks)
        self.pins.make_room(blocks, now_s, running_tokens)

    def _note_step(self, output: SchedulerOutput) -> None:
        self.pins.turns_scheduled(output.num_scheduled_tokens)
        if not output.num_scheduled_tokens and vllm_compat.may_lack_blocks(self._scheduler):
            self.pins.release_all()  # whatever was miscounted: what is kept must never be what keeps an engine idle

    def _running_tokens(self) -> float:
        references = self._references
        used = references.capacity_blocks - references.free_blocks
        return max(used * references.block_tokens - self.pins.tokens, 0)
