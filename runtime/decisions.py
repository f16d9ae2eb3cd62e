"""AugServe's decisions for one engine: the parts that make them, and the order in which each event asks them."""

from dataclasses import dataclass

import numpy as np

from ..models.serving.settings import SchedulerSettings
from . import vllm_compat
from .deployment import Deployment
from .engine import Engine
from .outcomes import Outcomes
from .parts import Parts
from .prediction.batching import Forecasting
from .prediction.canary import LEARNING, Canary
from .prediction.forecaster import Forecaster
from .queueing.deferred import DeferredTurns
from .queueing.free_room import FreeRoom
from .queueing.ordering import Ordering
from .queueing.tenants import TenantService
from .queueing.waiting_queue import Slots, WaitingQueue
from .refusal.backlog import Backlog
from .residency.admission import NONE_HELD, HeavyAdmission
from .residency.contexts import PausedContexts
from .residency.pins import Pins
from .residency.pressure import Pressure
from .residency.standing import StandingOrder
from .residency.working_set import WorkingSet
from .residency.worth import ContextWorth, admitted_share, restore_cost
from .routing.expected_work import ExpectedWork
from .sessions.live_turn import LiveTurn
from .sessions.table import Pause
from .steering.preemption import PreemptionOrder
from .steering.prompt_chunks import PromptChunks
from .steering.step_budget import SteeredBudget, StepBudget
from .steering.token_budget import TokenBudget


@dataclass(frozen=True, slots=True)
class Decisions:
    """The decisions of one engine. A part that is off does nothing. No method raises."""

    engine: Engine
    forecaster: Forecaster
    forecasting: Forecasting
    canary: Canary
    outcomes: Outcomes
    budget: StepBudget
    deferred: DeferredTurns
    ordering: Ordering
    standing: StandingOrder
    contexts: PausedContexts
    admission: HeavyAdmission
    pressure: Pressure
    preemption: PreemptionOrder
    chunks: PromptChunks | None  # None: prompts are not cut, or vLLM's own limit holds alone
    tenants: TenantService
    work: ExpectedWork
    backlog: Backlog | None  # None: nothing is refused

    def begin(self) -> None:
        """Tell the API servers of this engine before its first step: they place the first sessions."""
        self.engine.guard.attempt("routing", self.work.tell, self.engine.clock())

    def turn_arrived(self, live: LiveTurn, pause: Pause | None) -> None:
        """`pause`: the tool call that this arrival ends."""
        if self.backlog is not None:
            live.refused_s = self.engine.guard.call("refusal", self.backlog.waited_s, live.hints.waited, fallback=0.0)
        self.contexts.turn_arrived(live)
        self.forecasting.turn_arrived(live)
        if pause is not None:
            self.engine.guard.attempt("correction", self.forecaster.pause_ended, live.session_id, pause)
            self.engine.guard.attempt(LEARNING, self.canary.forecaster.pause_ended, live.session_id, pause)

    def before_step(self, now_s: float) -> None:
        """Prepare vLLM's next step: forecasts, token budget, queue order, free blocks, preemption order, chunks."""
        guard = self.engine.guard
        if (turns := self.forecasting.take_arrived()) and (turns := self.canary.predict(turns)):
            guard.attempt("prediction", self.forecasting.predict, turns)
        if not guard.attempt("budget", self.budget.before_step):
            self.budget.restore()
        self.order(now_s)
        if self.contexts.pins:
            self.contexts.attempt(self.pressure.make_room)
        guard.attempt("preemption", self.preemption.before_step)
        if self.chunks is not None and not guard.attempt("chunks", self.chunks.before_step):
            self.chunks.restore()
        self.engine.running_demand.forget()

    def order(self, now_s: float) -> None:
        """Admit and rank the waiting turns, unless the last order stands."""
        guard = self.engine.guard
        stands = guard.call("residency", self.standing.stands, now_s, fallback=False)
        deferred = NONE_HELD if stands else self._order_anew(now_s)
        guard.attempt("routing", self.work.tell, now_s)
        if self.backlog is not None:
            guard.attempt("refusal", self.backlog.tell, deferred, now_s)

    def _order_anew(self, now_s: float) -> Slots:
        """The slots of the turns that vLLM cannot run yet. If the order fails, nothing is held, and vLLM's stands."""
        guard, queue = self.engine.guard, self.ordering.queue
        deferred = guard.call("deferral", self.deferred.slots, queue, fallback=NONE_HELD)
        held = guard.call("residency", self.admission.hold, queue, now_s, deferred, fallback=NONE_HELD)
        if not guard.attempt("order", self.ordering.rank, now_s, np.append(held, deferred)):
            queue.unrank()
        if not deferred.size and not self.ordering.passing_over.since_s:
            guard.attempt("residency", self._note_order, now_s)
        return deferred

    def _note_order(self, now_s: float) -> None:
        self.standing.made(now_s, self.admission.looks_again_s(now_s))

    def turn_ended(self, live: LiveTurn, reason: str) -> None:
        self.standing.forget()
        self.tenants.turn_ended(live)
        self.contexts.turn_ended(live)
        self.engine.guard.attempt("correction", self.forecaster.turn_ended, live, reason)
        self.engine.guard.attempt(LEARNING, self.canary.forecaster.turn_ended, live, reason)
        self.engine.guard.attempt("outcome", self.outcomes.turn_ended, live, reason)

    def fall_silent(self) -> None:
        """Tell the API servers nothing more, until a step tells them something again."""
        self.work.fall_silent()
        if self.backlog is not None:
            self.backlog.fall_silent()

    def close(self) -> None:
        self.engine.guard.attempt("shutdown", self.work.close)
        if self.backlog is not None:
            self.engine.guard.attempt("shutdown", self.backlog.close)

    def prefix_cache_reset(self) -> None:
        """Unpin everything (vLLM resets only unreferenced blocks) and forget corrections (the weights may change)."""
        self.contexts.release_all()
        self.engine.guard.attempt("correction", self.forecaster.reset)
        self.engine.guard.attempt(LEARNING, self.canary.forecaster.reset)


def build_decisions(parts: Parts, engine: Engine, deployment: Deployment, before: Decisions | None = None) -> Decisions:
    """`before`: what decided until now; kept contexts, admissions, accounts and turns without a forecast go over.

    Raises DeploymentError where turns are to be refused and the API server cannot be told.
    """
    settings, limit_s = parts.settings, deployment.refuse_after_s
    references = vllm_compat.BlockReferences(engine.scheduler)
    loads = engine.kv_cache.has_host_memory
    worth = ContextWorth(settings, references.capacity_blocks * references.block_tokens, loads)
    keeps = engine.active and engine.kv_cache.keeps_contexts
    restore = restore_cost(settings.step_time, loads)
    residency_share = admitted_share(settings.residency.share, restore) if keeps else 0.0
    working_set = WorkingSet(references, engine.kv_cache, residency_share)
    if before is None:
        pins = Pins(references, worth, engine.metrics.pin_released)
        tenants = TenantService(settings.step_time, engine.clock)
    else:
        pins, tenants = before.contexts.pins, before.tenants
        pins.worth, tenants.step = worth, settings.step_time
        working_set.take_over(before.admission.working_set)
    ordering = Ordering(settings, engine, FreeRoom(engine, pins), tenants)
    forecaster = parts.forecaster(engine.metrics)
    forecasting = Forecasting(forecaster, ordering.queue, engine.metrics, engine.clock)
    backlog = None
    work = ExpectedWork(settings, engine, ordering.queue, None if before is None else before.work)
    if before is not None:
        for live in before.forecasting.take_arrived():
            forecasting.turn_arrived(live)
        backlog = before.backlog
    return Decisions(
        engine,
        forecaster,
        forecasting,
        Canary(engine, ordering.queue, deployment.share),
        Outcomes(settings.slo, engine.metrics, engine.clock),
        _step_budget(parts, engine, ordering),
        DeferredTurns(engine.scheduler),
        ordering,
        StandingOrder(engine.scheduler, ordering.queue, working_set),
        PausedContexts(engine, pins, pins_contexts=residency_share > 0),
        HeavyAdmission(settings, engine, pins, working_set, tenants),
        Pressure(engine, pins, ordering),
        PreemptionOrder(settings, engine),
        _prompt_chunks(settings, engine, ordering.queue),
        tenants,
        work,
        None if limit_s is None else Backlog(settings, engine, ordering.queue, work, limit_s, backlog),
    )


def _prompt_chunks(settings: SchedulerSettings, engine: Engine, queue: WaitingQueue) -> PromptChunks | None:
    shares = engine.active and settings.budget.running_share < 1.0 and vllm_compat.steers_budget(engine.scheduler)
    return PromptChunks(settings, engine, queue) if shares else None


def _step_budget(parts: Parts, engine: Engine, ordering: Ordering) -> StepBudget:
    scheduler, settings = engine.scheduler, parts.settings
    if not vllm_compat.steers_budget(scheduler):
        return StepBudget()
    if parts.budget is not None:
        return parts.budget(scheduler)
    configured_tokens = vllm_compat.token_budget(scheduler)
    tpot_s = settings.slo.tpot_s / vllm_compat.pipeline_stages(scheduler)
    controller = TokenBudget(settings.budget, tpot_s, settings.step_time, configured_tokens)
    return SteeredBudget(controller, engine, ordering)
