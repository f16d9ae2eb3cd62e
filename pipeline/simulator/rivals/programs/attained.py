"""PLAS: the program with the least attained service goes first."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.request import Request

from .....data.workload.model import Session
from ..ranked import RankedScheduler
from .base import roots_of


class LeastAttainedService(RankedScheduler):
    """By the tokens that the program's earlier turns, those of its sub-agents included, have computed.

    Luo et al., "Autellix: An Efficient Serving Engine for LLM Agents as General Programs" (NSDI 2026, arXiv
    2502.13965), without its preemption of running turns.
    """

    FIXED = True

    def __init__(self, *args: Any, sessions: Sequence[Session], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._roots = roots_of(sessions)
        self._attained: defaultdict[str, int] = defaultdict(int)

    def describe(self, request: Request) -> Sequence[float]:
        return (self._attained[self._roots[str(request.session_id)]],)

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        output = super().schedule(throttle_prefills)
        for request_id, tokens in output.num_scheduled_tokens.items():
            self._attained[self._roots[str(self.requests[request_id].session_id)]] += tokens
        return output
