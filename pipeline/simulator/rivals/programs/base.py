"""Programs of agents, a session with its sub-agents each, which rivals admit, pause and resume as a whole.

The rivals know when a program ends: their clients say so.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.request import Request

from .....data.workload.model import Session
from .....runtime.queueing.waiting_queue import HELD
from ..ranked import Floats, RankedScheduler


def roots_of(sessions: Sequence[Session]) -> dict[str, str]:
    """The session that each session and sub-agent belongs to, by id."""
    return {own.session_id: root.session_id for root in sessions for own in root.tree()}


class Program:
    """A program that has arrived and has not ended."""

    def __init__(self, arrived_s: float) -> None:
        self.arrived_s = arrived_s
        self.turns = 0  # turns that have arrived
        self._live: set[str] = set()  # ids of requests
        self._contexts: dict[str, int] = {}  # tokens by session, of those that have not ended

    @property
    def tokens(self) -> int:
        return sum(self._contexts.values())

    @property
    def reasons(self) -> bool:
        """Whether one of its turns waits or runs; otherwise it acts, or waits for a tool."""
        return bool(self._live)

    def turn_arrives(self, request_id: str, session_id: str, tokens: int) -> None:
        self.turns += 1
        self._live.add(request_id)
        self._contexts[session_id] = tokens

    def turn_ends(self, request_id: str, session_id: str, tokens: int, last: bool) -> None:
        self._live.discard(request_id)
        self._contexts[session_id] = tokens
        if last:
            del self._contexts[session_id]


class ProgramScheduler(RankedScheduler):
    """vLLM's order, in which the turns of some programs are held back."""

    FIXED = True

    def __init__(self, *args: Any, sessions: Sequence[Session], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._roots = roots_of(sessions)
        self._turns_left = {own.session_id: len(own.turns) for root in sessions for own in root.tree()}
        self.programs: dict[str, Program] = {}  # in order of arrival

    def review(self) -> None:
        """Called before each step: decide which programs may run."""
        raise NotImplementedError

    def may_run(self, program_id: str) -> bool:
        raise NotImplementedError

    def program_ended(self, program_id: str) -> None:
        """The program is no longer among `programs`."""

    def describe(self, request: Request) -> Sequence[float]:
        return (request.arrival_time,)

    def add_request(self, request: Request) -> None:
        session_id = str(request.session_id)
        program = self.programs.setdefault(self._roots[session_id], Program(request.arrival_time))
        program.turn_arrives(request.request_id, session_id, request.num_tokens)
        super().add_request(request)

    def keys(self, columns: Floats) -> Floats:
        held = [not self.may_run(self._roots[str(request.session_id)]) for request in self._queue.requests]
        return np.asarray(np.where(held, HELD, columns[0]))

    def looks_again_s(self) -> float:
        """At once where a program that was held may run now; nothing else changes by itself."""
        held = self._held()
        self.review()
        return float("-inf") if held - self._held() else float("inf")

    def _held(self) -> set[str]:
        waiting = {self._roots[str(request.session_id)] for request in self._queue.requests}
        return {program_id for program_id in waiting if not self.may_run(program_id)}

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        self.review()
        return super().schedule(throttle_prefills)

    def _free_blocks(self, request: Request) -> None:
        if request.is_finished():
            self._turn_ends(request)
        super()._free_blocks(request)

    def _turn_ends(self, request: Request) -> None:
        session_id = str(request.session_id)
        root = self._roots[session_id]
        self._turns_left[session_id] -= 1
        last = not self._turns_left[session_id]
        self.programs[root].turn_ends(request.request_id, session_id, request.num_tokens, last)
        if last and session_id == root:
            del self.programs[root]
            self.program_ended(root)
