"""InferCept: least waste at tool calls, first come first served by the session's original arrival.

Abhyankar et al., "InferCept: Efficient Intercept Support for Augmented Large Language Model Inference" (ICML 2024, PMLR
235:81-95, arXiv 2402.01869; github.com/WukLab/InferCept): a request that returns from a tool call keeps its original
arrival time in the queue; its context is preserved or discarded, whichever wastes less memory, and the choice is made
anew while the call lasts. There the engine sees the call; here it is predicted, with the call's duration, by the
forecaster that is given.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.request import Request

from .forecasting import ForecastingScheduler
from .pinned import Pin, PinningScheduler
from .ranked import Floats
from .waste import discard_waste, preserve_waste, remaining_pause_s

GOES_ON_TURNS = 1.5
"""Expected turns of a session, this one counted, from which it is taken to go on."""
MAX_SESSIONS = 100_000


class InferCept(ForecastingScheduler, PinningScheduler):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._first_arrival_s: dict[str, float] = {}
        self._other_tokens = 0
        self._chunk_tokens = self.max_num_scheduled_tokens

    def describe(self, request: Request) -> Sequence[float]:
        return (self.session_arrival_s(request),)

    def keys(self, columns: Floats) -> Floats:
        return np.asarray(columns[0])

    def session_arrival_s(self, request: Request) -> float:
        """Arrival of the session's first turn."""
        arrivals = self._first_arrival_s
        arrival_s = arrivals.setdefault(request.session_id or request.request_id, request.arrival_time)
        if len(arrivals) > MAX_SESSIONS:
            del arrivals[next(iter(arrivals))]
        return arrival_s

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        self._other_tokens = sum(request.num_computed_tokens for request in self.running)
        decodes = sum(not request.is_prefill_chunk for request in self.running)
        self._chunk_tokens = max(self.max_num_scheduled_tokens - decodes, 1)
        return super().schedule(throttle_prefills)

    def pause_kept_s(self, request: Request) -> float | None:
        forecast = self._forecasts[request.request_id]
        if forecast.remaining_turns < GOES_ON_TURNS:
            return None
        preserve = preserve_waste(forecast.pause_s, request.num_tokens)
        return forecast.pause_s if preserve < self._discard(request.num_tokens) else None

    def keeps(self, pin: Pin) -> bool:
        return self.burden(pin) < self._discard(pin.context_tokens)

    def burden(self, pin: Pin) -> float:
        """Waste of preserving it further."""
        return preserve_waste(remaining_pause_s(pin.pause_s, self._clock() - pin.since_s), pin.context_tokens)

    def _discard(self, context_tokens: int) -> float:
        return discard_waste(self._settings.step_time, context_tokens, self._other_tokens, self._chunk_tokens)
