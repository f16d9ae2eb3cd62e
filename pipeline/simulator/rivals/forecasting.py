"""The common base of the rivals that predict: forecasts by the forecaster and features of AugServe."""

from typing import Any

from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.engine import EngineCoreOutputs
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request

from ....runtime.prediction.forecaster import Forecaster
from ....runtime.sessions.live_turn import FALLBACK, Forecast, note_arrival, read_hints
from ....runtime.sessions.table import SessionTable
from .ranked import RankedScheduler


class ForecastingScheduler(RankedScheduler):
    """`_forecasts` has the forecast of each live turn by request id, before the request enters the queue."""

    def __init__(self, *args: Any, forecaster: Forecaster, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._forecaster = forecaster
        self._sessions = SessionTable()
        self._forecasts: dict[str, Forecast] = {}

    def add_request(self, request: Request) -> None:
        live, _ = note_arrival(request, read_hints(request), self._sessions, request.arrival_time)
        self._forecasts[request.request_id] = self._forecaster.forecast([live])[0] or FALLBACK
        super().add_request(request)

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
                del self._forecasts[request_id]
                self._sessions.turn_finished(
                    request.session_id or request_id,
                    self._clock(),
                    request.num_prompt_tokens,
                    request.num_output_tokens,
                )
        return outputs
