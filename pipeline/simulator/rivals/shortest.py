"""Shortest job first: fewest tokens, prompt and predicted output together."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.engine import EngineCoreOutputs
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request

from ....runtime.prediction import FALLBACK, Forecaster
from ....runtime.sessions import SessionTable
from ....runtime.turns import arrived
from .ranked import Floats, RankedScheduler


class ShortestJobFirst(RankedScheduler):
    """Static order; the output is predicted by the same forecaster as AugServe's, from the same features."""

    def __init__(self, *args: Any, forecaster: Forecaster, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._forecaster = forecaster
        self._sessions = SessionTable()
        self._expected: dict[str, float] = {}

    def add_request(self, request: Request) -> None:
        live, _ = arrived(request, self._sessions, request.arrival_time)
        forecast = self._forecaster.forecast([live])[0] or FALLBACK
        self._expected[request.request_id] = forecast.output_tokens
        super().add_request(request)

    def describe(self, request: Request) -> Sequence[float]:
        return (request.num_prompt_tokens + self._expected[request.request_id],)

    def keys(self, columns: Floats) -> Floats:
        return np.asarray(columns[0])

    def update_from_output(
        self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput
    ) -> dict[int, EngineCoreOutputs]:
        before = {
            request_id: self.requests[request_id]
            for request_id in scheduler_output.num_scheduled_tokens
            if request_id in self.requests
        }
        outputs = super().update_from_output(scheduler_output, model_runner_output)
        for request_id, request in before.items():
            if request.is_finished():
                del self._expected[request_id]
                self._sessions.turn_finished(
                    request.session_id or request_id,
                    self._clock(),
                    request.num_prompt_tokens,
                    request.num_output_tokens,
                )
        return outputs
