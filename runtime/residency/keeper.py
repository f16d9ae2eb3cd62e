"""Carries the context policy through a scheduler's events: what a finish leaves kept gives way before it hinders."""

from collections.abc import Callable
from dataclasses import dataclass

from ...models.serving.settings import SchedulerSettings
from .. import vllm_compat
from ..guard import Guard
from ..metrics import Metrics
from ..queueing.ordering import Ordering
from ..sessions.live_turn import LiveTurn
from ..vllm_compat import AsyncScheduler, BlockReferences, PauseState, Request, RequestStatus, SchedulerOutput
from .pins import Pins
from .policy import ContextPolicy

HEADS = 32
"""Of the foremost waiting requests, so many at most are provided for in a step."""
_FINISHED = (RequestStatus.FINISHED_STOPPED, RequestStatus.FINISHED_LENGTH_CAPPED)


@dataclass(frozen=True, slots=True)
class _Claim:
    """What is kept for a turn that waits, and how much of it its prompt begins with."""

    request_id: str
    blocks: int
    used: int


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
        step = vllm_compat.step_demand(self._scheduler)
        if self._references.free_blocks >= most + step:
            return  # plenty for any: not worth counting
        heads = self._ordering.admissible(count, vllm_compat.token_budget(self._scheduler)) if count else []
        claims = [self._claim(head) for head in heads]
        demands = [
            max(demand - claim.used, 0)
            for demand, claim in zip(vllm_compat.prompt_demand(self._scheduler, heads), claims, strict=True)
        ]
        spared = {claim.request_id for claim in claims}
        self.pins.make_room(step + sum(demands), now_s, running_tokens, spared)
        self._share_out(step + sum(demands), list(zip(claims, demands, strict=True)))

    def _share_out(self, blocks: int, heads: list[tuple[_Claim, int]]) -> None:
        """There is no room for all `heads`, though nothing is kept but for them: the last ones wait. What is kept for
        a turn makes no room for itself, but for what it does not use; it gives way to those before it."""
        references = self._references
        for claim, demand in reversed(heads):
            missing = blocks - references.free_blocks
            if missing <= 0:
                return
            if claim.blocks - claim.used >= missing:
                self.pins.give_up(claim.request_id)
                return
            blocks -= demand
            if references.free_blocks < blocks:
                self.pins.give_up(claim.request_id)

    def _claim(self, head: Request) -> _Claim:
        blocks = self.pins.claimed_blocks(head.request_id)
        if not blocks:
            return _Claim(head.request_id, 0, 0)
        found = self._ordering.cached_tokens(head) // self._references.block_tokens * self._references.groups
        return _Claim(head.request_id, blocks, min(blocks, found))

    def _note_step(self, output: SchedulerOutput) -> None:
        self.pins.turns_scheduled(output.num_scheduled_tokens)
        if not output.num_scheduled_tokens and vllm_compat.may_lack_blocks(self._scheduler):
            self.pins.release_all()  # whatever was miscounted: what is kept must never be what keeps an engine idle

    def _running_tokens(self) -> float:
        references = self._references
        used = references.capacity_blocks - references.free_blocks
        return max(used * references.block_tokens - self.pins.tokens, 0)
