"""The lives of turns: what an arrival, a first token and an end tell to sessions, corrections, contexts and traces."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from . import vllm_compat
from .guard import Guard
from .metrics import Metrics
from .prediction.correction import Correction
from .prediction.forecaster import Forecaster, PredictorForecaster
from .recording.tracer import Tracer
from .sessions.linking import Link
from .sessions.live_turn import FINISHED, LiveTurn, arrived, ended, link
from .sessions.prefix import Prefix
from .sessions.table import Pause, SessionTable

if TYPE_CHECKING:
    from .vllm_compat import EngineCoreOutputs, Request

MAX_LOST_TURNS = 1024
"""Turns that vLLM no longer knows, from which on they are looked for and dropped."""


class TurnListener(Protocol):
    """Hears of turns; it must not raise."""

    def turn_arrived(self, live: LiveTurn) -> None: ...

    def turn_ended(self, live: LiveTurn) -> None: ...


class Lifecycle:
    """Owns the live turns and their sessions. What fails is counted by the guard and leaves the request alone."""

    def __init__(
        self,
        guard: Guard,
        metrics: Metrics,
        tracer: Tracer,
        clock: Callable[[], float],
        hash_block_tokens: int,
    ) -> None:
        self.turns: dict[str, LiveTurn] = {}
        self.sessions = SessionTable(closed=metrics.sessions_closed.inc)
        self.listeners: list[TurnListener] = []
        self.forecaster: Forecaster | None = None  # None: nothing is predicted
        self._guard = guard
        self._metrics = metrics
        self._tracer = tracer
        self._clock = clock
        self._hash_block_tokens = hash_block_tokens
        self._new: list[LiveTurn] = []

    def take_new(self) -> list[LiveTurn]:
        """The turns to be predicted: those that have arrived since the last call."""
        new, self._new = self._new, []
        return new

    def arrive(self, request: "Request") -> None:
        linked = self._guard.call("linking", lambda: self._link(request), (None, None))
        live, pause = arrived(request, self.sessions, request.arrival_time, *linked)
        self.turns[request.request_id] = live
        self._metrics.sessions.set(len(self.sessions))
        for listener in self.listeners:
            listener.turn_arrived(live)
        if self.forecaster is not None:
            self._new.append(live)
        if pause is not None:
            if isinstance(forecaster := self.forecaster, PredictorForecaster):
                self._guard.call("correction", lambda: self._learn_pause(forecaster, live, pause), None)
            self._tracer.pause_ended(live, pause)

    def note_outputs(self, outputs: Mapping[int, "EngineCoreOutputs"], now_s: float) -> None:
        """First tokens and ends, as a step's output tells them."""
        turns = self.turns
        for of_client in outputs.values():
            for output in of_client.outputs:
                live = turns.get(output.request_id)
                if live is None:
                    continue
                if live.first_token_s is None and output.new_token_ids:
                    live.first_token_s = now_s
                    if output.prefill_stats is not None:
                        live.cached_tokens = output.prefill_stats.num_cached_tokens
                if output.finish_reason is not None and live.request.is_finished():
                    self._finish(live, now_s, str(output.finish_reason))

    def note_finished(self, requests: Iterable["Request"]) -> None:
        """Ends from outside: a client's abort, a stop string that the server found."""
        now_s = self._clock()
        for request in requests:
            live = self.turns.get(request.request_id)
            if live is not None:
                self._finish(live, now_s, str(request.get_finished_reason()))

    def forget_lost(self, known: Collection[str], most: int = MAX_LOST_TURNS) -> None:
        """Drop turns whose end was missed, as happens while `output` or `finish` is suspended."""
        if len(self.turns) > len(known) + most:
            for request_id in self.turns.keys() - set(known):
                del self.turns[request_id]

    def forget_corrections(self) -> None:
        """Back to what the models say: what earlier predictions missed by holds no longer, as after new weights."""
        if isinstance(forecaster := self.forecaster, PredictorForecaster):
            forecaster.reset()
            for correction in (forecaster.output, forecaster.pause):
                self._note_correction(correction)

    def _link(self, request: "Request") -> tuple[Link | None, Prefix | None]:
        if request.session_id:
            return None, None
        prefix = vllm_compat.prompt_prefix(request, self._hash_block_tokens)
        found = link(request, self.sessions, prefix, request.arrival_time)
        self._metrics.linked("nothing" if found is None else found.by)
        return found, prefix

    def _finish(self, live: LiveTurn, now_s: float, reason: str) -> None:
        request = live.request
        del self.turns[request.request_id]
        for listener in self.listeners:
            listener.turn_ended(live)
        if reason in FINISHED:
            self.sessions.turn_finished(live.session_id, now_s, request.num_prompt_tokens, request.num_output_tokens)
        if isinstance(forecaster := self.forecaster, PredictorForecaster):
            self._guard.call("correction", lambda: self._learn_output(forecaster, live, reason), None)
        if (prompt := live.prefix) is not None:
            whole = vllm_compat.whole_prefix
            self._guard.call("linking", lambda: ended(live, self.sessions, whole(request, prompt), reason), None)
        self._tracer.turn_ended(live, now_s, reason)

    def _learn_pause(self, forecaster: PredictorForecaster, live: LiveTurn, pause: Pause) -> None:
        forecaster.pause_ended(live.session_id, pause.turn, pause.duration_s)
        self._note_correction(forecaster.pause)

    def _learn_output(self, forecaster: PredictorForecaster, live: LiveTurn, reason: str) -> None:
        forecaster.turn_finished(live, reason)
        self._note_correction(forecaster.output)

    def _note_correction(self, correction: Correction) -> None:
        self._metrics.corrected(correction.quantity, correction.overall, correction.coverage, correction.width)
