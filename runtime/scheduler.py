"""The scheduler that vLLM runs: vLLM's own, which asks AugServe's decisions at each event."""

import logging
import time
from collections.abc import Iterable
from typing import Any, ClassVar

from .. import __version__
from . import vllm_compat
from .control.control import Control
from .deployment import check_api_servers, parse_deployment, warn_of_split_sessions
from .engine import Engine
from .parts import Setup
from .recording.spans import Spans
from .recording.tracer import Tracer
from .turn_lifecycle import Lifecycle
from .vllm_compat import (
    EngineCoreOutputs,
    HookedScheduler,
    ModelRunnerOutput,
    PauseState,
    Request,
    RequestStatus,
    SchedulerOutput,
)

logger = logging.getLogger(f"vllm.{__name__}")  # vLLM prints only what is logged below its own logger


class AugServeScheduler(HookedScheduler):
    """vLLM's asynchronous scheduler with AugServe's order, budget and pins; deployment.py describes its modes.

    Raises DeploymentError, BundleError or UnsupportedVllmError (all ValueError) at construction, so that a server with
    a wrong configuration does not start. Later, no error of AugServe reaches the engine.
    """

    setup: ClassVar[Setup] = Setup()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        deployment = parse_deployment(self.vllm_config.additional_config)
        vllm_compat.check_vllm(allow_unknown=deployment.allow_unknown_vllm)
        vllm_compat.check_scheduler(self)
        vllm_compat.check_setup(self.vllm_config)
        check_api_servers(deployment, vllm_compat.api_servers(self.vllm_config))
        if vllm_compat.splits_sessions(self.vllm_config):
            warn_of_split_sessions()
        parts = None if deployment.mode == "observe" else self.setup.parts(deployment)
        version = __version__ if parts is None else parts.version
        self.engine = Engine.of(
            self, self.setup.clock, version, deployment.mode, self.setup.trusts_arrivals, deployment.overrides
        )
        self._guard, self._clock = self.engine.guard, self.engine.clock
        model, dropped = vllm_compat.served_model(self), self.engine.metrics.recorder_dropped
        self._tracer = Tracer.of(deployment, version, model, vllm_compat.engine_number(self), dropped.inc)
        self.control = Control(deployment, self.setup, self.engine, parts)
        self.decisions = self.control.decisions
        if self.decisions is not None:
            self.waiting = self.decisions.ordering.queue
        self.lifecycle = Lifecycle(self.engine, self.decisions, self._tracer, Spans.of(self), self.hash_block_size)
        bundle = "no bundle" if parts is None else f"bundle {parts.version}"
        logger.info("AugServe %s: mode %s, %s", __version__, deployment.mode, bundle)

    def add_request(self, request: Request) -> None:
        if request.request_id not in self.requests:  # otherwise it is the next input of a streaming session
            self._guard.attempt("arrival", self.lifecycle.turn_arrived, request)
        super().add_request(request)

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        start_s, began_s = self._clock(), time.perf_counter()
        if self.control.is_due:
            self._guard.attempt("control", self._change)
        if self.decisions is not None:
            self.decisions.before_step(start_s)
        output = super().schedule(throttle_prefills)
        if self.decisions is not None:
            self.decisions.contexts.after_step(output)
        self._guard.attempt("step", self._note_step, output, start_s, time.perf_counter() - began_s)
        return output

    def update_from_output(
        self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput
    ) -> dict[int, EngineCoreOutputs]:
        outputs = super().update_from_output(scheduler_output, model_runner_output)
        self._guard.attempt("output", self._note_output, scheduler_output, outputs)
        return outputs

    def finish_requests(self, request_ids: str | Iterable[str] | None, finished_status: RequestStatus) -> list[Request]:
        finished = super().finish_requests(request_ids, finished_status)
        self._guard.attempt("finish", self.lifecycle.requests_finished, finished)
        return finished

    def before_free(self, request: Request) -> None:
        if self.decisions is not None:
            self.decisions.contexts.turn_finishes(self.engine.turns.get(request.request_id))

    def usage_of_requests(self, usage: float) -> float:
        """Contexts that only pins hold do not count: balancers take usage for load."""
        if self.decisions is None:
            return usage
        return max(usage - self._guard.call("usage", self.decisions.contexts.idle_share, fallback=0.0), 0.0)

    def reset_prefix_cache(self, reset_running_requests: bool = False, reset_connector: bool = False) -> bool:
        if self.decisions is not None:
            self.decisions.prefix_cache_reset()
        return bool(super().reset_prefix_cache(reset_running_requests, reset_connector))

    def set_pause_state(self, pause_state: PauseState) -> None:
        super().set_pause_state(pause_state)
        if self.decisions is not None and pause_state != PauseState.UNPAUSED:
            self.decisions.contexts.release_all()

    def shutdown(self) -> None:
        if self.decisions is not None:
            self.decisions.contexts.release_all()
            self.decisions.close()
        try:
            for close in (self.control.close, self._tracer.close, self.engine.metrics.close):
                self._guard.attempt("shutdown", close)
        finally:
            super().shutdown()

    def _change(self) -> None:
        """Let another bundle or mode decide from this step on."""
        control = self.control
        try:
            control.apply()
        finally:
            self.engine, self.decisions = control.engine, control.decisions
            self.lifecycle.decisions = control.decisions
            self._tracer.decided_by(control.version)

    def _note_step(self, output: SchedulerOutput, start_s: float, schedule_s: float) -> None:
        if output.num_scheduled_tokens:
            self.lifecycle.forget_lost(self.requests)
            step = vllm_compat.step_row(self, output, self.engine.kv_cache.usage, start_s, schedule_s)
            self._tracer.step_scheduled(output, step)

    def _note_output(self, scheduler_output: SchedulerOutput, outputs: dict[int, EngineCoreOutputs]) -> None:
        now_s = self._clock()
        step = self._tracer.step_ended(scheduler_output, now_s)
        if step is not None and self.decisions is not None:
            self.decisions.budget.step_ended(step.step_s, step.prefill_tokens, step.decode_sequences)
        self.lifecycle.step_ended(outputs, now_s)
