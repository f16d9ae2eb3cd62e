"""The common base of the rivals: vLLM's scheduler, whose waiting queue is sorted before each step."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.request import Request

from ....models.serving.settings import SchedulerSettings
from ....runtime.queueing.waiting_queue import WaitingQueue

Floats = NDArray[np.float64]


def keys_of(order: NDArray[np.intp]) -> Floats:
    """The keys by which requests come in this order of their slots."""
    keys = np.empty(len(order))
    keys[order] = np.arange(len(order))
    return keys


class RankedScheduler(AsyncScheduler):
    """A rival describes each waiting request by WIDTH numbers and sorts by a key of them, the lowest key first."""

    WIDTH = 1
    FIXED = False
    """Whether the key of a waiting request stays the same."""

    def __init__(self, *args: Any, settings: SchedulerSettings, clock: Callable[[], float], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._settings = settings
        self._clock = clock
        self._queue = WaitingQueue(self.WIDTH, self.describe, by_priority=False)
        self.waiting = self._queue

    def describe(self, request: Request) -> Sequence[float]:
        """The WIDTH numbers of a request that enters the queue."""
        raise NotImplementedError

    def keys(self, columns: Floats) -> Floats:
        """Keys of shape (n,) from columns of shape (WIDTH, n); by default the first number of a request."""
        return np.asarray(columns[0])

    def looks_again_s(self) -> float:
        """With each step, where requests wait whose order may change (bulk/)."""
        return float("-inf") if self._queue and not self.FIXED else float("inf")

    def step_ends(self, prefill_tokens: int, decodes: int) -> None:
        """Nothing is learned from a step."""

    def decode_steps_end(self, ends_s: Sequence[float], decodes: int) -> None:
        """Nothing is learned from the time of a step."""

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        if self._queue.requests:
            self._queue.rank(self.keys(self._queue.columns))
        return super().schedule(throttle_prefills)
