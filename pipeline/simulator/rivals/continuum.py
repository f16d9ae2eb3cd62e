"""Continuum: contexts live on for a time over tool calls; first come first served, kept contexts first.

Li et al., "Continuum: Efficient and Robust Multi-Turn LLM Agent Scheduling with KV Cache Time-to-Live" (2025, arXiv
2511.02230, from version 4 on as CacheTTL; github.com/Hanchenli/vllm-continuum). The time-to-live of a context is the τ
among the tool's observed durations that gains most: P(tool ≤ τ)·(queue delay saved + prefill(C)) − τ.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.request import Request

from ....runtime.hints.hints import Hints
from .forecasting import ForecastingScheduler
from .infercept import GOES_ON_TURNS
from .pinned import Pin, PinningScheduler
from .ranked import Floats
from .waste import forward_s

OBSERVED = 500  # latest durations of a tool
ENOUGH = 5  # durations of a tool, below which those of all tools stand for it
WAITS = 100  # latest waits of admitted turns
MAX_SESSIONS = 100_000


def time_to_live_s(durations_s: Iterable[float], saved_s: float) -> float:
    """The best τ; 0 where keeping gains nothing, or nothing has been observed. Ties: the shorter one."""
    observed = np.sort(np.asarray(tuple(durations_s), dtype=np.float64))
    if not observed.size:
        return 0.0
    reached = np.searchsorted(observed, observed, side="right") / observed.size
    gains = reached * saved_s - observed
    best = int(gains.argmax())
    return float(observed[best]) if gains[best] > 0 else 0.0


class Continuum(PinningScheduler):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._durations: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=OBSERVED))
        self._all_durations: deque[float] = deque(maxlen=OBSERVED)
        self._waits_s: deque[float] = deque(maxlen=WAITS)
        # By session: arrival of its first turn, its latest tool, finish of its last turn while it pauses.
        self._programs: dict[str, tuple[float, str, float | None]] = {}

    def add_request(self, request: Request) -> None:
        self._observe(request)
        super().add_request(request)

    def describe(self, request: Request) -> Sequence[float]:
        return (self._programs[request.session_id or request.request_id][0],)

    def keys(self, columns: Floats) -> Floats:
        kept = np.fromiter((request.session_id in self._pins for request in self._queue.requests), bool)
        return np.asarray(columns[0] - np.where(kept, 1e9, 0.0))

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        output = super().schedule(throttle_prefills)
        now_s = self._clock()
        for new in output.scheduled_new_reqs:
            self._waits_s.append(now_s - self.requests[new.req_id].arrival_time)
        return output

    def pause_kept_s(self, request: Request) -> float | None:
        session_id = request.session_id or request.request_id
        first_s, tool, _ = self._programs[session_id]
        self._programs[session_id] = (first_s, tool, self._clock())
        queue_s = sum(self._waits_s) / len(self._waits_s) if self._waits_s else 0.0
        saved_s = queue_s + forward_s(self._settings.step_time, request.num_tokens)
        return time_to_live_s(self.durations_s(request, tool), saved_s) or None

    def durations_s(self, request: Request, tool: str) -> Iterable[float]:  # noqa: ARG002 - one is by the request
        """What the call after the turn may last; nothing where none is expected."""
        durations = self._durations[tool]
        return durations if len(durations) >= ENOUGH else self._all_durations

    def keeps(self, pin: Pin) -> bool:
        return self._clock() - pin.since_s <= pin.pause_s

    def burden(self, pin: Pin) -> float:
        """Under pressure the program that came last gives way first."""
        return self._programs[pin.session_id][0]

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
            self._pins.release(gone)
            del self._programs[gone]


class ForecastContinuum(ForecastingScheduler, Continuum):
    """Continuum by the call's predicted duration in place of those observed of the tool: not the paper's, but with the
    predictions that the other rivals have."""

    def durations_s(self, request: Request, tool: str) -> Iterable[float]:  # noqa: ARG002
        forecast = self._forecasts[request.request_id]
        return (forecast.pause_s,) if forecast.remaining_turns >= GOES_ON_TURNS else ()
