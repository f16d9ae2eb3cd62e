"""Pins the context of a session as its turn finishes, and hands it to the session's next turn."""

from collections.abc import Callable
from typing import TypeVarTuple

from .. import vllm_compat
from ..engine import Engine
from ..sessions.live_turn import LiveTurn
from ..vllm_compat import RequestStatus, SchedulerOutput
from .pins import Pins

Arguments = TypeVarTuple("Arguments")

_FINISHED = (RequestStatus.FINISHED_STOPPED, RequestStatus.FINISHED_LENGTH_CAPPED)

RECOUNT_S = 0.25


class PausedContexts:
    """Applies pins at a scheduler's events. No method raises: a failure is counted as `context` and unpins everything.

    Nothing is pinned without `pins_contexts`.
    """

    def __init__(self, engine: Engine, pins: Pins, pins_contexts: bool) -> None:
        self.pins = pins
        self._pins_contexts = pins_contexts
        self._scheduler = engine.scheduler
        self._guard = engine.guard
        self._metrics = engine.metrics
        self._clock = engine.clock
        self._idle_share = 0.0
        self._counted_s = float("-inf")

    def turn_arrived(self, live: LiveTurn) -> None:
        self.attempt(self._claim, live)

    def turn_finishes(self, live: LiveTurn | None) -> None:
        """To be called before vLLM frees the blocks of a turn."""
        if self._pins_contexts and live is not None and live.request.status in _FINISHED:
            self.attempt(self._pin, live)

    def turn_ended(self, live: LiveTurn) -> None:
        self.attempt(self.pins.turn_ended, live.request.request_id)

    def after_step(self, output: SchedulerOutput) -> None:
        if self.pins:
            self.attempt(self._note_step, output)
        self._metrics.pinned_tokens.set(self.pins.tokens)

    def release_all(self) -> None:
        self._guard.attempt("context release", self.pins.release_all)
        self._metrics.pinned_tokens.set(self.pins.tokens)

    def idle_share(self) -> float:
        """Share of the KV cache that pins hold and no request uses, counted anew each RECOUNT_S."""
        if not self.pins:
            return 0.0
        now_s = self._clock()
        if not 0 <= now_s - self._counted_s < RECOUNT_S:
            self._counted_s = now_s
            self._idle_share = self.pins.releasable_blocks / self.pins.references.capacity_blocks
        return self._idle_share

    def attempt(self, function: Callable[[*Arguments], None], *arguments: *Arguments) -> None:
        """Call a function that changes pins; if it fails, unpin everything."""
        if not self._guard.attempt("context", function, *arguments):
            self.release_all()

    def _claim(self, live: LiveTurn) -> None:
        pins, parent = self.pins, live.hints.parent_session_id
        pins.turn_arrived(live.session_id, live.request.request_id)
        live.admitted = live.session_id in pins or (parent is not None and parent in pins)

    def _pin(self, live: LiveTurn) -> None:
        if vllm_compat.is_paused(self._scheduler):
            return
        request, pins = live.request, self.pins
        pinned = not live.hints.is_last_turn and pins.pin(
            live.session_id, request, request.num_tokens, live.forecast, self._clock(), live.hints.tenant
        )
        self._metrics.context("preserve" if pinned else "discard")

    def _note_step(self, output: SchedulerOutput) -> None:
        self.pins.turns_scheduled(output.num_scheduled_tokens)
        if not output.num_scheduled_tokens and vllm_compat.may_lack_blocks(self._scheduler):
            self.pins.release_all()  # whatever was miscounted: pins must never keep an engine idle
