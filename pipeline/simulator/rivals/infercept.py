"""InferCept: least waste at tool calls, in order of arrival of the sessions."""

from collections.abc import Sequence
from typing import Any

from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.request import Request

from ....runtime.residency.worth import CONTINUING_TURNS, expected_rest_s
from .forecasting import ForecastingScheduler
from .pinned import PinnedContext, PinningScheduler
from .waste import discard_waste, preserve_waste

MAX_SESSIONS = 100_000


class InferCept(ForecastingScheduler, PinningScheduler):
    """A returning request is queued by the arrival of its session. Its context is preserved or discarded, whichever
    wastes less memory, and the choice is reviewed in each step of the call.

    Abhyankar et al., "InferCept: Efficient Intercept Support for Augmented Large Language Model Inference" (ICML 2024,
    PMLR 235:81-95, arXiv 2402.01869; github.com/WukLab/InferCept). InferCept's engine sees the tool call; here the
    forecaster predicts the call and its duration.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._first_arrival_s: dict[str, float] = {}
        self._running_tokens = 0
        self._chunk_tokens = self.max_num_scheduled_tokens

    def describe(self, request: Request) -> Sequence[float]:
        return (self.session_arrival_s(request),)

    def session_arrival_s(self, request: Request) -> float:
        """Arrival of the session's first turn."""
        arrivals = self._first_arrival_s
        arrival_s = arrivals.setdefault(request.session_id or request.request_id, request.arrival_time)
        if len(arrivals) > MAX_SESSIONS:
            del arrivals[next(iter(arrivals))]
        return arrival_s

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        self._running_tokens = sum(request.num_computed_tokens for request in self.running)
        decodes = sum(not request.is_prefill_chunk for request in self.running)
        self._chunk_tokens = max(self.max_num_scheduled_tokens - decodes, 1)
        return super().schedule(throttle_prefills)

    def pinned_pause_s(self, request: Request) -> float | None:
        forecast = self._forecasts[request.request_id]
        if forecast.remaining_turns < CONTINUING_TURNS:
            return None
        preserve = preserve_waste(forecast.pause_s, request.num_tokens)
        return forecast.pause_s if preserve < self._discard_waste(request.num_tokens) else None

    def stays_pinned(self, context: PinnedContext) -> bool:
        return self.cost(context) < self._discard_waste(context.context_tokens)

    def cost(self, context: PinnedContext) -> float:
        """Waste of preserving the context for the rest of the call."""
        rest_s = expected_rest_s(context.pause_s, self._clock() - context.since_s)
        return preserve_waste(rest_s, context.context_tokens)

    def _discard_waste(self, context_tokens: int) -> float:
        return discard_waste(self._settings.step_time, context_tokens, self._running_tokens, self._chunk_tokens)
