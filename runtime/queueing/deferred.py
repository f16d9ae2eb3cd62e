"""Turns that vLLM would skip in the next step: their adapter has no slot, or their grammar is not compiled.

vLLM takes each of them from the queue and puts it back, in every step. They are not offered to it instead. So they cost
a step nothing, take no part in what it can admit, and a bound on waits is not spent on them.
"""

import numpy as np
from numpy.typing import NDArray

from .. import vllm_compat
from ..vllm_compat import AsyncScheduler
from .value import Column
from .waiting_queue import Slots, WaitingQueue


class DeferredTurns:
    def __init__(self, scheduler: AsyncScheduler) -> None:
        self._scheduler = scheduler

    def slots(self, queue: WaitingQueue) -> Slots:
        """Slots of the turns that cannot be admitted in the next step."""
        columns = queue.columns
        deferred: NDArray[np.bool_] = columns[Column.LACKS_GRAMMAR] > 0.0
        for slot in np.flatnonzero(deferred).tolist():
            if not vllm_compat.lacks_grammar(queue.requests[slot]):
                columns[Column.LACKS_GRAMMAR, slot] = 0.0
                deferred[slot] = False
        if (adapters := vllm_compat.only_adapters(self._scheduler)) is not None:
            deferred |= ~np.isin(columns[Column.ADAPTER], [0, *adapters])
        return np.flatnonzero(deferred)
