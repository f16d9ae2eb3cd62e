"""The life of a turn: its arrival, its first token and its end, passed on to sessions, decisions and traces."""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, TypeVarTuple

from . import vllm_compat
from .decisions import Decisions
from .engine import Engine
from .hints.hints import Hints
from .recording.spans import Spans
from .recording.tracer import Tracer
from .sessions.linking import Link
from .sessions.live_turn import FINISHED, LiveTurn, note_arrival, past_turn, read_hints
from .sessions.prefix import Prefix
from .sessions.table import SessionTable

if TYPE_CHECKING:
    from .vllm_compat import EngineCoreOutputs, Request

Arguments = TypeVarTuple("Arguments")

LINKING_DEADLINE_S = 0.02
"""Linking that takes longer counts as a failure: the engine waits for it."""
MAX_REMEMBERED = 32
"""Ended turns that one step or arrival remembers, which takes about 5 ms; more wait for the next."""
MAX_LOST_TURNS = 1024
"""Live turns beyond vLLM's requests at which the lost ones are searched for and dropped."""


class Lifecycle:
    """Owns the live turns and their sessions. Errors are counted by the guard and leave the request alone."""

    def __init__(
        self, engine: Engine, decisions: Decisions | None, tracer: Tracer, spans: Spans | None, hash_block_tokens: int
    ) -> None:
        self.turns = engine.turns
        self.sessions = SessionTable(closed=engine.metrics.sessions_closed.inc)
        self._engine = engine
        self.decisions = decisions
        self._tracer = tracer
        self._spans = spans
        self._hash_block_tokens = hash_block_tokens
        self._ended: deque[tuple[LiveTurn, Prefix, str]] = deque()  # to be remembered, with their finish reasons

    def turn_arrived(self, request: "Request") -> None:
        self._remember_some()
        hints, now_s = read_hints(request), self._engine.arrived_s(request)
        found: list[tuple[Link | None, Prefix | None]] = []  # filled even where linking is late
        self._engine.guard.attempt("linking", self._in_time, self._link, request, hints, now_s, found)
        link, prefix = found[0] if found else (None, None)
        live, pause = note_arrival(request, hints, self.sessions, now_s, link, prefix)
        self.turns[request.request_id] = live
        self._engine.metrics.sessions.set(len(self.sessions))
        if self.decisions is not None:
            self.decisions.turn_arrived(live, pause)
        if pause is not None:
            self._tracer.pause_ended(live, pause)

    def step_ended(self, outputs: Mapping[int, "EngineCoreOutputs"], now_s: float) -> None:
        """Note the first tokens and the ends in a step's output."""
        turns = self.turns
        for client_outputs in outputs.values():
            for output in client_outputs.outputs:
                live = turns.get(output.request_id)
                if live is None:
                    continue
                if live.first_token_s is None and output.new_token_ids:
                    live.first_token_s = now_s
                    if output.prefill_stats is not None:
                        live.cached_tokens = output.prefill_stats.num_cached_tokens
                        self._count_prompt(live, live.cached_tokens)
                if output.finish_reason is not None and live.request.is_finished():
                    self._turn_ended(live, now_s, str(output.finish_reason))
        self._remember_some()

    def _count_prompt(self, live: LiveTurn, cached_tokens: int) -> None:
        count, prompt_tokens = self._engine.metrics.prompt_tokens, live.request.num_prompt_tokens
        again_tokens = live.evicted_tokens(cached_tokens)
        count("cached", cached_tokens)
        count("again", again_tokens)
        count("new", prompt_tokens - cached_tokens - again_tokens)

    def requests_finished(self, requests: Iterable["Request"]) -> None:
        """Note ends from outside the engine: a client's abort, a stop string that the server found."""
        now_s = self._engine.clock()
        for request in requests:
            live = self.turns.get(request.request_id)
            if live is not None:
                self._turn_ended(live, now_s, str(request.get_finished_reason()))
        self._remember_some()

    def forget_lost(self, request_ids: Collection[str], most: int = MAX_LOST_TURNS) -> None:
        """Drop turns whose end was missed, which happens while `output` or `finish` is suspended."""
        if len(self.turns) > len(request_ids) + most:
            for request_id in self.turns.keys() - set(request_ids):
                del self.turns[request_id]

    def _link(
        self, request: "Request", hints: Hints, now_s: float, found: list[tuple[Link | None, Prefix | None]]
    ) -> None:
        """Append the session that the request continues and the prefix of its prompt, unless its caller names one."""
        if request.session_id:
            return
        prefix = vllm_compat.prompt_prefix(request, self._hash_block_tokens)
        link = None
        if request.sampling_params is not None:
            call_ids = (hints.call_id, hints.call_id_before)
            link = self.sessions.link(prefix, call_ids, hints.tenant, now_s)
        found.append((link, prefix))
        self._engine.metrics.linked("nothing" if link is None else link.by)

    def _turn_ended(self, live: LiveTurn, now_s: float, reason: str) -> None:
        request = live.request
        del self.turns[request.request_id]
        if self.decisions is not None:
            self.decisions.turn_ended(live, reason)
        if reason in FINISHED:
            self.sessions.turn_finished(live.session_id, now_s, request.num_prompt_tokens, request.num_output_tokens)
        if live.prefix is not None:
            self._ended.append((live, live.prefix, reason))
        self._tracer.turn_ended(live, now_s, reason)
        if self._spans is not None:
            self._engine.guard.attempt("span", self._spans.turn_ended, live, now_s, reason)

    def _remember_some(self) -> None:
        for _ in range(min(len(self._ended), MAX_REMEMBERED)):
            self._engine.guard.attempt("linking", self._in_time, self._remember, *self._ended.popleft())

    def _remember(self, live: LiveTurn, prompt: Prefix, reason: str) -> None:
        """Remember the turn, so that the session's next turn is recognised."""
        past = past_turn(live, vllm_compat.whole_prefix(live.request, prompt), reason)
        self.sessions.turn_ended(live.session_id, past, reason in FINISHED)

    def _in_time(self, function: Callable[[*Arguments], None], *arguments: *Arguments) -> None:
        """Call the function. Raises TimeoutError where it ends after the deadline of linking."""
        start_s = self._engine.clock()
        function(*arguments)
        took_s = self._engine.clock() - start_s
        if took_s > LINKING_DEADLINE_S:
            raise TimeoutError(f"linking took {took_s:.3f} s, not {LINKING_DEADLINE_S:.3f} s")
