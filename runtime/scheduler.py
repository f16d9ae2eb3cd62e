"""The scheduler that vLLM runs: vLLM's own, with AugServe's parts wired to its arrivals, steps and finishes."""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .. import __version__
from ..models.predictor import Predictor
from ..models.settings import SchedulerSettings
from . import vllm_compat
from .deployment import Deployment, parse_deployment
from .guard import Guard
from .metrics import Metrics
from .recorder import Recorder
from .sessions import SessionTable
from .steps import StepFacts, StepLog, step_row
from .turns import LiveTurn, arrived, pause_row, turn_row
from .vllm_compat import AsyncScheduler, EngineCoreOutputs, ModelRunnerOutput, Request, RequestStatus, SchedulerOutput

logger = logging.getLogger(f"vllm.{__name__}")  # vLLM's handlers show what is below its own logger


@dataclass(frozen=True, slots=True)
class Artifacts:
    """What a bundle brings to a scheduler."""

    settings: SchedulerSettings
    predictor: Predictor
    version: str


class AugServeScheduler(AsyncScheduler):
    """vLLM's asynchronous scheduler, ordered and steered by what AugServe predicts; see deployment.py for its modes.

    Raises DeploymentError, BundleError or UnsupportedVllmError (all ValueError) at construction: a server with a
    wrong configuration does not start. Later, no error of AugServe's reaches the engine.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        vllm_compat.check_vllm()
        super().__init__(*args, **kwargs)
        vllm_compat.check_scheduler(self)
        deployment = parse_deployment(self.vllm_config.additional_config)
        artifacts = None if deployment.mode == "observe" else self.load_artifacts(deployment)
        self._augserve_version = __version__ if artifacts is None else artifacts.version
        self._augserve_source = deployment.source
        self._clock = self.make_clock()
        self._metrics = Metrics(vllm_compat.engine_number(self), self._augserve_version, deployment.mode)
        self._guard = Guard(self._clock, self._metrics.fallback)
        self._sessions = SessionTable()
        self._turns: dict[str, LiveTurn] = {}
        self._steps = StepLog()
        self._recorder = None
        if deployment.traces is not None:
            self._recorder = Recorder(deployment.traces, self._metrics.recorder_dropped.inc)
        self._kv_cache = vllm_compat.KvCache(self.kv_cache_manager)
        logger.info(
            "AugServe %s: mode %s, %s",
            __version__,
            deployment.mode,
            "no bundle" if artifacts is None else f"bundle {artifacts.version}",
        )

    def load_artifacts(self, deployment: Deployment) -> Artifacts:
        """Settings and predictor of the deployment's bundle. Raises DeploymentError or BundleError."""
        from ..models.bundle import load_bundle

        bundle = load_bundle(deployment.bundle_folder(), vllm_compat.vllm_version)
        return Artifacts(bundle.settings, bundle.predictor, bundle.version)

    def make_clock(self) -> Callable[[], float]:
        """AugServe's only notion of time, on the clock of `Request.arrival_time`."""
        return time.time

    def add_request(self, request: Request) -> None:
        if request.request_id not in self.requests:  # else the next input of a streaming session
            self._guard.call("arrival", lambda: self._arrived(request), None)
        super().add_request(request)

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        start_s = self._clock()
        began = time.perf_counter()
        output = super().schedule(throttle_prefills)
        schedule_s = time.perf_counter() - began
        self._guard.call("step", lambda: self._scheduled(output, start_s, schedule_s), None)
        return output

    def update_from_output(
        self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput
    ) -> dict[int, EngineCoreOutputs]:
        outputs = super().update_from_output(scheduler_output, model_runner_output)
        self._guard.call("output", lambda: self._answered(scheduler_output, outputs), None)
        return outputs

    def finish_requests(self, request_ids: str | Iterable[str] | None, finished_status: RequestStatus) -> list[Request]:
        finished = super().finish_requests(request_ids, finished_status)
        self._guard.call("finish", lambda: self._ended(finished), None)
        return finished

    def shutdown(self) -> None:
        try:
            self._guard.call("shutdown", self._close, None)
        finally:
            super().shutdown()

    def _arrived(self, request: Request) -> None:
        live, pause = arrived(request, self._sessions, request.arrival_time)
        self._turns[request.request_id] = live
        self._metrics.sessions.set(len(self._sessions))
        if self._recorder is not None and pause is not None:
            row = pause_row(live, pause, self._augserve_source)
            if row is not None:
                self._recorder.add("tool_calls", row)

    def _scheduled(self, output: SchedulerOutput, start_s: float, schedule_s: float) -> None:
        if not output.num_scheduled_tokens:
            return
        decodes = context_tokens = prefill_tokens = 0
        requests = self.requests
        for request_id, tokens in output.num_scheduled_tokens.items():
            request = requests[request_id]
            context_tokens += request.num_computed_tokens
            if vllm_compat.is_decode(request, tokens):
                decodes += 1
            else:
                prefill_tokens += tokens
        running, waiting = self.get_request_counts()
        facts = StepFacts(
            step=self.current_step,
            start_s=start_s,
            prefill_tokens=prefill_tokens,
            decode_sequences=decodes,
            context_tokens=context_tokens,
            kv_usage=self._kv_cache.usage,
            waiting=waiting,
            running=running,
            token_budget=vllm_compat.token_budget(self),
            schedule_s=schedule_s,
        )
        self._steps.scheduled(output, facts)

    def _answered(self, scheduler_output: SchedulerOutput, outputs: dict[int, EngineCoreOutputs]) -> None:
        now_s = self._clock()
        step = self._steps.finished(scheduler_output, now_s)
        if step is not None and self._recorder is not None:
            self._recorder.add("steps", step_row(*step, self._augserve_source))
        turns = self._turns
        for of_client in outputs.values():
            for output in of_client.outputs:
                live = turns.get(output.request_id)
                if live is None:
                    continue
                if live.first_token_s is None and output.new_token_ids:
                    live.first_token_s = now_s
                    if output.prefill_stats is not None:
                        live.cached_tokens = output.prefill_stats.num_cached_tokens
                if output.finish_reason is not None and live.request.is_finished():
                    self._finished(live, now_s, str(output.finish_reason))

    def _ended(self, requests: list[Request]) -> None:
        now_s = self._clock()
        for request in requests:
            live = self._turns.get(request.request_id)
            if live is not None:
                self._finished(live, now_s, str(request.get_finished_reason()))

    def _finished(self, live: LiveTurn, now_s: float, reason: str) -> None:
        del self._turns[live.request.request_id]
        if reason in ("stop", "length"):
            tokens = live.request.num_output_tokens
            self._sessions.turn_finished(live.session_id, now_s, live.request.num_prompt_tokens, tokens)
        if self._recorder is not None:
            self._recorder.add("turns", turn_row(live, self._augserve_source, self._augserve_version, now_s, reason))

    def _close(self) -> None:
        if self._recorder is not None:
            self._recorder.close()
        self._metrics.close()
