"""The scheduler that vLLM runs: vLLM's own, with AugServe's parts wired to its arrivals, steps and finishes."""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .. import __version__
from ..models.serving.drift import DriftReference
from ..models.serving.predictor import Predictor
from ..models.serving.settings import SchedulerSettings
from . import vllm_compat
from .deployment import Deployment, parse_deployment
from .guard import Guard
from .metrics import Metrics
from .prediction.batching import Forecasting
from .prediction.drift import monitors
from .prediction.forecaster import Forecaster, PredictorForecaster
from .queueing.head_of_line import room_of
from .queueing.ordering import Ordering
from .recording.tracer import Tracer, step_facts
from .residency.keeper import ContextKeeper
from .steering.preemption import LossJudge, PreemptionOrder
from .steering.token_budget import TokenBudget
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

logger = logging.getLogger(f"vllm.{__name__}")  # vLLM's handlers show what is below its own logger


@dataclass(frozen=True, slots=True)
class Artifacts:
    """What a bundle brings to a scheduler."""

    settings: SchedulerSettings
    predictor: Predictor
    version: str
    drift: DriftReference | None = None  # None: drift is not watched


class AugServeScheduler(HookedScheduler):
    """vLLM's asynchronous scheduler, ordered and steered by what AugServe predicts; see deployment.py for its modes.

    Raises DeploymentError, BundleError or UnsupportedVllmError (all ValueError) at construction: a server with a
    wrong configuration does not start. Later, no error of AugServe's reaches the engine.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        deployment = parse_deployment(self.vllm_config.additional_config)
        vllm_compat.check_vllm(allow_unknown=deployment.allow_unknown_vllm)
        vllm_compat.check_scheduler(self)
        artifacts = None if deployment.mode == "observe" else self.load_artifacts(deployment)
        version = __version__ if artifacts is None else artifacts.version
        self._clock = self.make_clock()
        self._metrics = Metrics(vllm_compat.engine_number(self), version, deployment.mode)
        self._guard = Guard(self._clock, self._metrics.fallback)
        model = vllm_compat.served_model(self)
        self._tracer = Tracer.of(deployment, version, model, self._metrics.recorder_dropped.inc)
        self._lifecycle = Lifecycle(self._guard, self._metrics, self._tracer, self._clock, self.hash_block_size)
        self._turns = self._lifecycle.turns
        self._kv_cache = vllm_compat.KvCache(self.kv_cache_manager)
        self._running_demand = vllm_compat.RunningDemand(self)
        self._configured_budget = vllm_compat.token_budget(self)
        self._active = deployment.mode == "active"
        self._forecasting: Forecasting | None = None
        self._ordering: Ordering | None = None
        self._budget: TokenBudget | None = None
        self._keeper: ContextKeeper | None = None
        self._preemption: PreemptionOrder | None = None
        if artifacts is not None:
            self._decide_by(artifacts)
        bundle = "no bundle" if artifacts is None else f"bundle {artifacts.version}"
        logger.info("AugServe %s: mode %s, %s", __version__, deployment.mode, bundle)

    def load_artifacts(self, deployment: Deployment) -> Artifacts:
        """Settings and predictor of the deployment's bundle. Raises DeploymentError or BundleError."""
        from ..models.serving.bundle import load_bundle

        version = None if deployment.allow_unknown_vllm else vllm_compat.vllm_version
        bundle = load_bundle(deployment.bundle_folder(), version)
        return Artifacts(bundle.settings, bundle.predictor, bundle.version, bundle.drift)

    def make_forecaster(self, artifacts: Artifacts) -> Forecaster:
        """What predicts the turns that arrive."""
        if artifacts.drift is None:
            return PredictorForecaster(artifacts.predictor)
        self._metrics.trained_coverage(artifacts.drift.coverage_80)
        return PredictorForecaster(artifacts.predictor, *monitors(artifacts.drift, self._metrics.drift))

    def make_clock(self) -> Callable[[], float]:
        """AugServe's only notion of time, on the clock of `Request.arrival_time`."""
        return time.time

    def _decide_by(self, artifacts: Artifacts) -> None:
        settings = artifacts.settings
        forecaster = self._lifecycle.forecaster = self.make_forecaster(artifacts)
        self._ordering = Ordering(
            settings,
            self._kv_cache,
            self._turns,
            self._guard,
            self._clock,
            by_priority=self.policy == vllm_compat.SchedulingPolicy.PRIORITY,
            shadow=not self._active,
            room=room_of(
                self,
                self._kv_cache,
                self._running_demand,
                lambda: 0 if self._keeper is None else self._keeper.pins.releasable_blocks,
            ),
            kept=lambda block: 0 if self._keeper is None else self._keeper.pins.times_kept(block),
        )
        if settings.weights.tenant:
            self._lifecycle.listeners.append(self._ordering.tenants)
        queue = self.waiting = self._ordering.queue
        self._forecasting = Forecasting(
            forecaster, self._metrics, self._clock, lambda live: queue.refresh(live.request)
        )
        if self._active and settings.retention.max_share > 0:
            self._keeper = ContextKeeper(self, settings, self._ordering, self._guard, self._metrics, self._clock)
            self._lifecycle.listeners.append(self._keeper)
        if self._active and self.policy == vllm_compat.SchedulingPolicy.FCFS:  # else vLLM looks for its victim itself
            judge = LossJudge(settings, self._turns)
            demand = self._running_demand.blocks
            self._preemption = PreemptionOrder(self, self._kv_cache, judge, self._clock, demand)
        if vllm_compat.steers_budget(self):
            slo, step = settings.slo, settings.step_time
            self._budget = TokenBudget(settings.budget, slo.tpot_s, step, self._configured_budget)

    def add_request(self, request: Request) -> None:
        if request.request_id not in self.requests:  # else the next input of a streaming session
            self._guard.call("arrival", lambda: self._lifecycle.arrive(request), None)
        super().add_request(request)

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        start_s = self._clock()
        began = time.perf_counter()
        if (forecasting := self._forecasting) is not None and (turns := self._lifecycle.take_new()):
            self._guard.call("prediction", lambda: forecasting.predict(turns), None)
        if self._budget is not None and not self._guard.call("budget", lambda: self._steer(start_s), False):
            vllm_compat.set_token_budget(self, self._configured_budget, self._configured_budget)
        if self._ordering is not None and not self._guard.call("order", lambda: self._rank(start_s), False):
            self._ordering.queue.unrank()
        if self._keeper is not None:
            self._keeper.before_step()
        if self._preemption is not None:
            self._guard.call("preemption", self._preemption.before_step, None)
        self._running_demand.forget()
        output = super().schedule(throttle_prefills)
        if self._keeper is not None:
            self._keeper.after_step(output)
        schedule_s = time.perf_counter() - began
        self._guard.call("step", lambda: self._note_step(output, start_s, schedule_s), None)
        return output

    def update_from_output(
        self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput
    ) -> dict[int, EngineCoreOutputs]:
        outputs = super().update_from_output(scheduler_output, model_runner_output)
        self._guard.call("output", lambda: self._note_output(scheduler_output, outputs), None)
        return outputs

    def finish_requests(self, request_ids: str | Iterable[str] | None, finished_status: RequestStatus) -> list[Request]:
        finished = super().finish_requests(request_ids, finished_status)
        self._guard.call("finish", lambda: self._lifecycle.note_finished(finished), None)
        return finished

    def reset_prefix_cache(self, reset_running_requests: bool = False, reset_connector: bool = False) -> bool:
        if self._keeper is not None:  # vLLM resets only what nobody references
            self._keeper.release_all()
        self._guard.call("correction", self._lifecycle.forget_corrections, None)  # the model's weights may be others
        return bool(super().reset_prefix_cache(reset_running_requests, reset_connector))

    def set_pause_state(self, pause_state: PauseState) -> None:
        super().set_pause_state(pause_state)
        if self._keeper is not None and pause_state != PauseState.UNPAUSED:
            self._keeper.release_all()

    def shutdown(self) -> None:
        if self._keeper is not None:
            self._keeper.release_all()
        try:
            for close in (self._tracer.close, self._metrics.close):
                self._guard.call("shutdown", close, None)
        finally:
            super().shutdown()

    def before_free(self, request: Request) -> None:
        if self._keeper is not None:
            self._keeper.turn_finishes(self._turns.get(request.request_id))

    def _rank(self, now_s: float) -> bool:
        budget = vllm_compat.token_budget(self)
        if self._ordering is not None and self._ordering.rank(now_s, len(self.running), budget):
            self._metrics.reorders.inc()
        return True

    def _steer(self, now_s: float) -> bool:
        if self._budget is not None:
            decodes = [request.is_prefill_chunk for request in self.running].count(False)
            late_s = self._ordering.late_s(now_s) if self._ordering is not None and self._budget.drains else 0.0
            tokens = self._budget.tokens(decodes * (1 + self.num_spec_tokens), now_s, late_s)
            self._metrics.token_budget.set(tokens)
            if self._active:
                vllm_compat.set_token_budget(self, tokens, self._configured_budget)
        return True

    def _note_step(self, output: SchedulerOutput, start_s: float, schedule_s: float) -> None:
        if output.num_scheduled_tokens:
            self._lifecycle.forget_lost(self.requests)
            facts = step_facts(self, output, self._kv_cache.usage, start_s, schedule_s)
            self._tracer.step_scheduled(output, facts)

    def _note_output(self, scheduler_output: SchedulerOutput, outputs: dict[int, EngineCoreOutputs]) -> None:
        now_s = self._clock()
        step = self._tracer.step_ended(scheduler_output, now_s)
        if step is not None and self._budget is not None:
            facts, step_s = step
            self._budget.measured(step_s, facts.decode_sequences, now_s)
        self._lifecycle.note_outputs(outputs, now_s)
