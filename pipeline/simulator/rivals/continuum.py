"""Continuum: contexts stay pinned for a time to live; sessions with a pinned context go first, then FCFS."""

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.request import Request

from ....runtime.hints.hints import Hints
from ....runtime.queueing.value import prefill_s
from ....runtime.residency.worth import CONTINUING_TURNS
from .forecasting import ForecastingScheduler
from .pinned import PinnedContext, PinningScheduler
from .ranked import Floats

MAX_DURATIONS = 500  # the latest durations of a tool
MIN_DURATIONS = 5  # with fewer durations of a tool, those of all tools count
MAX_WAITS = 100  # the latest queue delays
MAX_SESSIONS = 100_000


def time_to_live_s(durations_s: Iterable[float], saved_s: float) -> float:
    """The τ among the observed durations with the largest gain P(tool ≤ τ)·saved_s − τ, the shortest of equals.

    0 if no τ gains, or if no duration was observed.
    """
    observed = np.sort(np.asarray(tuple(durations_s), dtype=np.float64))
    if not observed.size:
        return 0.0
    reached = np.searchsorted(observed, observed, side="right") / observed.size
    gains = reached * saved_s - observed
    best = int(gains.argmax())
    return float(observed[best]) if gains[best] > 0 else 0.0


class Continuum(PinningScheduler):
    """The time to live of a context gains most by the observed durations of the tool, against queue delay and prefill.

    Li et al., "Continuum: Efficient and Robust Multi-Turn LLM Agent Scheduling with KV Cache Time-to-Live" (2025, arXiv
    2511.02230, from version 4 on as CacheTTL; github.com/Hanchenli/vllm-continuum).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._durations: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=MAX_DURATIONS))
        self._all_durations: deque[float] = deque(maxlen=MAX_DURATIONS)
        self._waits_s: deque[float] = deque(maxlen=MAX_WAITS)
        # By session: arrival of the first turn, latest tool, finish of the last turn during a pause.
        self._programs: dict[str, tuple[float, str, float | None]] = {}

    def add_request(self, request: Request) -> None:
        self._observe(request)
        super().add_request(request)

    def describe(self, request: Request) -> Sequence[float]:
        return (self._programs[request.session_id or request.request_id][0],)

    def keys(self, columns: Floats) -> Floats:
        pinned = np.fromiter((request.session_id in self.pins for request in self._queue.requests), bool)
        return np.asarray(columns[0] - np.where(pinned, 1e9, 0.0))

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        output = super().schedule(throttle_prefills)
        now_s = self._clock()
        for new in output.scheduled_new_reqs:
            self._waits_s.append(now_s - self.requests[new.req_id].arrival_time)
        return output

    def pinned_pause_s(self, request: Request) -> float | None:
        session_id = request.session_id or request.request_id
        first_s, tool, _ = self._programs[session_id]
        self._programs[session_id] = (first_s, tool, self._clock())
        queue_s = sum(self._waits_s) / len(self._waits_s) if self._waits_s else 0.0
        tokens = float(request.num_tokens)
        saved_s = queue_s + prefill_s(self._settings.step_time, tokens, tokens)
        return time_to_live_s(self.durations_s(request, tool), saved_s) or None

    def durations_s(self, request: Request, tool: str) -> Iterable[float]:  # noqa: ARG002 - a subclass needs the request
        """Possible durations of the call after the turn; none if no call is expected."""
        durations = self._durations[tool]
        return durations if len(durations) >= MIN_DURATIONS else self._all_durations

    def stays_pinned(self, context: PinnedContext) -> bool:
        return self._clock() - context.since_s <= context.pause_s

    def cost(self, context: PinnedContext) -> float:
        """The session that arrived last is released first."""
        return self._programs[context.session_id][0]

    def _observe(self, request: Request) -> None:
        session_id = request.session_id or request.request_id
        params = request.sampling_params
        tools = Hints.read(None if params is None else params.extra_args).tools
        first_s, tool, finish_s = self._programs.get(session_id, (request.arrival_time, "", None))
        tool = tools[-1] if tools else tool
        if finish_s is not None:
            self._durations[tool].append(request.arrival_time - finish_s)
            self._all_durations.append(request.arrival_time - finish_s)
        self._programs[session_id] = (first_s, tool, None)
        if len(self._programs) > MAX_SESSIONS:
            gone = next(iter(self._programs))
            self.pins.release(gone)
            del self._programs[gone]


class HoldingContinuum(Continuum):
    """As in its plug-in, a time to live holds: nothing is released before it has ended, unless the engine is idle."""

    def release_one(self) -> bool:
        return not self.running and super().release_one()


class ForecastContinuum(ForecastingScheduler, Continuum):
    """Continuum with the predicted duration of the call instead of the observed ones. The paper has no such variant; it
    gives Continuum the predictions that other rivals have."""

    def durations_s(self, request: Request, tool: str) -> Iterable[float]:  # noqa: ARG002
        forecast = self._forecasts[request.request_id]
        return (forecast.pause_s,) if forecast.remaining_turns >= CONTINUING_TURNS else ()
