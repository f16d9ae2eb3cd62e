"""Events of an engine as data, so that one list can be played to several engines."""

import random
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from hypothesis import strategies as st
from vllm.lora.request import LoRARequest
from vllm.v1.core.sched.interface import PauseState
from vllm.v1.request import Request, RequestStatus

from augserve.runtime.vllm_compat import holding_queue

from .conftest import Engine, Grammar

Event = tuple[Any, ...]
KINDS = (*["plain"] * 6, "streaming", "structured", "adapter 1", "adapter 2")
_SOME = st.integers(0, 40)
bursts = st.tuples(st.just("arrive"), st.integers(3, 16), st.integers(0, 1 << 16))
steps = st.tuples(st.just("step"), st.integers(5, 30))
others = st.one_of(
    st.tuples(st.just("abort"), _SOME),
    st.tuples(st.just("go on"), _SOME, st.integers(1, 300), st.integers(1, 40)),
    st.tuples(st.just("say more"), _SOME, st.integers(1, 300), st.integers(1, 40)),
    st.tuples(st.just("compile"), _SOME, st.booleans()),
    st.tuples(st.just("pause"), st.sampled_from(list(PauseState))),
    st.tuples(st.just("reset"), st.booleans()),
    st.tuples(st.just("time passes"), st.floats(0.1, 3.0)),
)
events = st.lists(st.one_of(bursts, steps, steps, others, others), min_size=12, max_size=24)
"""Any interleaving of events. A burst is drawn from a seed, so that few draws make an engine busy."""
MAX_CONTEXT = 3_000
"""Tokens up to which a conversation goes on."""
MAX_CONVERSATIONS = 64
"""Ended turns that may go on."""


def random_events(rnd: random.Random) -> list[Event]:
    """Events as `events` has them, drawn from a generator: long runs need no smallest example."""
    kinds: list[Callable[[], Event]] = [
        lambda: ("abort", rnd.randint(0, 40)),
        lambda: ("go on", rnd.randint(0, 40), rnd.randint(1, 300), rnd.randint(1, 40)),
        lambda: ("say more", rnd.randint(0, 40), rnd.randint(1, 300), rnd.randint(1, 40)),
        lambda: ("compile", rnd.randint(0, 40), rnd.random() < 0.5),
        lambda: ("pause", rnd.choice(list(PauseState))),
        lambda: ("reset", rnd.random() < 0.5),
        lambda: ("time passes", rnd.uniform(0.1, 3.0)),
    ]
    played: list[Event] = []
    for _ in range(rnd.randint(12, 24)):
        kind = rnd.randrange(5)
        if kind == 0:
            played.append(("arrive", rnd.randint(3, 16), rnd.randrange(1 << 16)))
        else:
            played.append(("step", rnd.randint(5, 30)) if kind < 3 else rnd.choice(kinds)())
    return played


class Player:
    """Plays events to an engine and records the expected output of each request."""

    def __init__(self, engine: Engine, adapters: bool, sessions: int = 8) -> None:
        self.engine = engine
        self._sessions = sessions
        self.expected: dict[str, int] = {}  # output tokens of the requests that end by themselves
        self._adapters = adapters
        self._streams: list[int] = []
        self._compiling: list[tuple[Request, Future[Any]]] = []
        self._sent: deque[Request] = deque(maxlen=MAX_CONVERSATIONS)
        self._count = 0

    def play(self, event: Event) -> int:
        """Play an event; returns the number of steps to take after it."""
        name, *facts = event
        if name == "step":
            return int(facts[0])
        getattr(self, "_" + name.replace(" ", "_"))(*facts)
        return 0

    def let_all_end(self) -> None:
        """Resolve everything that requests wait for, so that the engine only has to run to the end."""
        self.engine.scheduler.set_pause_state(PauseState.UNPAUSED)
        for _, compiled in self._compiling:
            compiled.set_result(Grammar())
        for number in self._streams:
            if f"r{number}" in self.engine.scheduler.requests:
                self.engine.add(number, 1, 1)
        self._compiling.clear()
        self._streams.clear()

    def _arrive(self, count: int, seed: int) -> None:
        rnd = random.Random(seed)
        for _ in range(count):
            session = f"s{rnd.randrange(self._sessions)}" if rnd.random() < 0.8 else None
            facts = {"session": session, "priority": rnd.randrange(3)}
            self._add(
                rnd.choice((rnd.randint(2, 200), rnd.randint(2, 2500))), rnd.randint(1, 40), rnd.choice(KINDS), facts
            )

    def _add(self, prompt: int, output: int, kind: str, facts: dict[str, Any]) -> None:
        if kind.startswith("adapter") and self._adapters:
            facts["lora_request"] = LoRARequest(kind, int(kind[-1]), "/nowhere")
        if kind in ("streaming", "structured"):
            facts["resumable" if kind == "streaming" else kind] = True
        number, self._count = self._count, self._count + 1
        request = self.engine.add(number, prompt, output, **facts)
        self._sent.append(request)
        if kind == "streaming":
            self._streams.append(number)
        else:
            self.expected[request.request_id] = output
        if kind == "structured":
            assert request.structured_output_request is not None
            compiled: Future[Any] = Future()
            request.structured_output_request.grammar = compiled
            self._compiling.append((request, compiled))

    def _abort(self, index: int) -> None:
        if known := list(self.engine.scheduler.requests):
            victim = known[index % len(known)]
            self.engine.scheduler.finish_requests(victim, RequestStatus.FINISHED_ABORTED)
            self.expected.pop(victim, None)

    def _go_on(self, index: int, prompt: int, output: int) -> None:
        """The next turn of a conversation whose caller names no session."""
        ended = [each for each in self._sent if each.is_finished() and each.num_tokens < MAX_CONTEXT]
        if ended:
            before = list(ended[index % len(ended)].all_token_ids)
            self._add(len(before) + prompt, output, "plain", {"before": before})

    def _say_more(self, index: int, prompt: int, output: int) -> None:
        open_streams = [each for each in self._streams if f"r{each}" in self.engine.scheduler.requests]
        if open_streams:
            self.engine.add(open_streams[index % len(open_streams)], prompt, output, resumable=True)

    def _compile(self, index: int, succeeds: bool) -> None:
        if not self._compiling:
            return
        request, compiled = self._compiling.pop(index % len(self._compiling))
        if succeeds:
            compiled.set_result(Grammar())
        else:
            compiled.set_exception(ValueError("no such grammar"))
            self.expected.pop(request.request_id, None)

    def _pause(self, state: PauseState) -> None:
        self.engine.scheduler.set_pause_state(state)

    def _reset(self, running_too: bool) -> None:
        while self.engine.in_flight:
            self.engine.answer()
        if running_too and holding_queue(self.engine.scheduler):
            return  # vLLM raises while streaming sessions hold blocks
        self.engine.scheduler.reset_prefix_cache(reset_running_requests=running_too)

    def _time_passes(self, seconds: float) -> None:
        self.engine.clock.now_s += seconds
