"""Program-aware fairness: the program with little recent service, or whose turn has waited long, goes first."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from vllm.v1.request import Request

from .....data.workload.model import Session
from ..ranked import Floats, RankedScheduler, keys_of
from .base import roots_of

SERVICE_WEIGHT, WAIT_WEIGHT = 0.8, 0.2
HALF_LIFE_S = 60.0
OUTPUT_WEIGHT = 2.0
"""A token of output counts as so many of the prompt."""


class ProgramFairness(RankedScheduler):
    """The score of a program is 0.8 times its lack of service and 0.2 times the wait of its first turn, both scaled to
    [0, 1] over the programs that wait. Service is the tokens of ended turns, halved each minute.

    Plug-in program-aware-fairness of llm-d's router, strategy LAS with its defaults (github.com/llm-d/llm-d-router,
    July 2026), with vLLM's queue as that of the router.
    """

    def __init__(self, *args: Any, sessions: Sequence[Session], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._roots = roots_of(sessions)
        self._service: dict[str, tuple[float, float]] = {}  # program → weighted tokens, and when they were counted

    def describe(self, request: Request) -> Sequence[float]:
        return (request.arrival_time,)

    def keys(self, columns: Floats) -> Floats:
        arrived_s, now_s = columns[0], self._clock()
        roots = [self._roots[str(request.session_id)] for request in self._queue.requests]
        programs, of = np.unique(roots, return_inverse=True)
        service = np.array([self._service_of(str(program), now_s) for program in programs])
        waits_s = np.zeros(len(programs))
        np.maximum.at(waits_s, of, now_s - arrived_s)
        scores = SERVICE_WEIGHT * (1 - _scaled(service)) + WAIT_WEIGHT * _scaled(waits_s)
        return keys_of(np.lexsort((arrived_s, of, -scores[of])))

    def _service_of(self, program: str, now_s: float) -> float:
        tokens, counted_s = self._service.get(program, (0.0, now_s))
        return float(tokens * 0.5 ** ((now_s - counted_s) / HALF_LIFE_S))

    def _free_blocks(self, request: Request) -> None:
        if request.is_finished():
            program, now_s = self._roots[str(request.session_id)], self._clock()
            tokens = request.num_prompt_tokens + OUTPUT_WEIGHT * request.num_output_tokens
            self._service[program] = self._service_of(program, now_s) + tokens, now_s
        super()._free_blocks(request)


def _scaled(values: Floats) -> Floats:
    low, high = values.min(initial=np.inf), values.max(initial=-np.inf)
    return np.zeros(len(values)) if high <= low else (values - low) / (high - low)
