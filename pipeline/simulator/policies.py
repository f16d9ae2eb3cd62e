"""Builds the scheduler of a policy of the catalogue for one simulation."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pkgutil import resolve_name
from typing import Any

import numpy as np
from vllm.v1.core.sched.async_scheduler import AsyncScheduler

from ...data.workload.model import Session
from ...models.serving.predictor import Predictor
from ...models.serving.settings import SchedulerSettings
from ...runtime.parts import Parts, Setup
from ...runtime.prediction.forecaster import Forecaster, PredictorForecaster
from ...runtime.queueing.value import Column
from ...runtime.scheduler import AugServeScheduler
from ...runtime.steering.step_budget import StepBudget
from .catalogue import EXACT, NOTHING, P_PAS_BUDGET, STATIC_BUDGET, TABLE, Policy, find
from .catalogue.static_setting import StaticSetting
from .clock import VirtualClock
from .engine import build_scheduler
from .errors import SimulationError
from .information import Constant, Mixed, Quantity, Table
from .oracle import Oracle
from .profile import EngineLimits
from .rivals.forecasting import ForecastingScheduler
from .rivals.prefill_cap import CappedBudget
from .rivals.ranked import RankedScheduler


class CountedBudget(StepBudget):
    """The budget, which is told the size of each step, with the decodes that were scheduled ahead (bulk/ahead.py)."""

    def __init__(self, budget: StepBudget) -> None:
        self.budget = budget
        self.size = 0, 0  # of the step that ends next: prompt tokens and decodes

    def before_step(self) -> None:
        self.budget.before_step()

    def step_ended(self, step_s: float, prefill_tokens: int, decodes: int) -> None:  # noqa: ARG002
        self.budget.step_ended(step_s, *self.size)

    def restore(self) -> None:
        self.budget.restore()


class PacedAugServe(AugServeScheduler):
    """The deployed scheduler in bulks of decode steps (bulk/): a bulk ends before a held turn may be admitted, and the
    token budget learns from each of its steps."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        assert self.decisions is not None  # noqa: S101 - only shadow modes have none
        self._counted = CountedBudget(self.decisions.budget)
        self.decisions = dataclasses.replace(self.decisions, budget=self._counted)

    def looks_again_s(self) -> float:
        assert self.decisions is not None  # noqa: S101 - only shadow modes have none
        if not len(self.waiting):
            return float("inf")
        now_s = self._clock()
        changed = False
        if not self.waiting:
            queue = self.decisions.ordering.queue
            uncached = queue.columns[Column.UNCACHED_TOKENS].copy()
            self.decisions.order(now_s)  # a turn that has ended may have left room for a held one
            changed = not np.array_equal(uncached, queue.columns[Column.UNCACHED_TOKENS])
        if self.waiting or changed:  # with other tokens in the cache, the next step may admit another turn
            return float("-inf")
        return self.decisions.admission.looks_again_s(now_s)

    def step_ends(self, prefill_tokens: int, decodes: int) -> None:
        self._counted.size = prefill_tokens, decodes

    def decode_steps_end(self, ends_s: Sequence[float], decodes: int) -> None:
        self._counted.size = 0, 0  # the step of vLLM is none of the budget's
        for start_s, end_s in pairwise(ends_s):
            self._counted.budget.step_ended(end_s - start_s, 0, decodes)


@dataclass(frozen=True, slots=True)
class PolicyInputs:
    """The inputs of a policy's scheduler."""

    limits: EngineLimits
    settings: SchedulerSettings
    predictor: Predictor | None  # None if no policy of the run predicts
    sessions: Sequence[Session]  # for oracles
    clock: VirtualClock


BUDGET_RULES: Mapping[str, Callable[[AsyncScheduler], StepBudget]] = {
    STATIC_BUDGET.name: lambda _: StepBudget(),
    P_PAS_BUDGET.name: CappedBudget,
}
"""Policy → the rule that replaces AugServe's controller of the token budget."""


def build_policy(name: str, inputs: PolicyInputs) -> AsyncScheduler:
    """The scheduler of a policy of the catalogue. Raises SimulationError for a name or limits that cannot be."""
    policy, static = find(name)
    settings = inputs.settings if policy.adjust is None else policy.adjust(inputs.settings)
    inputs = dataclasses.replace(inputs, limits=_limits(name, policy, static, inputs), settings=settings)
    scheduler = resolve_name(policy.scheduler)
    if issubclass(scheduler, AugServeScheduler):
        return deployed_scheduler(inputs, _forecaster(policy, inputs), BUDGET_RULES.get(policy.name))
    arguments: dict[str, Any] = {}
    if issubclass(scheduler, RankedScheduler):
        arguments |= {"settings": inputs.settings, "clock": inputs.clock}
    if policy.knows_programs:
        arguments["sessions"] = inputs.sessions
    if static.sessions is not None:
        arguments["most_programs"] = static.sessions
    if issubclass(scheduler, ForecastingScheduler):
        arguments["forecaster"] = _forecaster(policy, inputs)
    return build_scheduler(scheduler, inputs.limits, **arguments)


def _limits(name: str, policy: Policy, static: StaticSetting, inputs: PolicyInputs) -> EngineLimits:
    configured = inputs.limits
    budget = static.budget or configured.max_num_batched_tokens
    sequences = static.sequences or min(configured.max_num_seqs, budget)
    if sequences > budget:
        raise SimulationError(
            f"policy {name}: vLLM needs a token budget of at least one token a sequence; raise {budget} to {sequences}"
        )
    kv_tokens = configured.kv_tokens
    if policy.unbounded_cache:
        kv_tokens += filled_tokens(inputs.sessions, configured.block_tokens)
    return dataclasses.replace(
        configured,
        kv_tokens=kv_tokens,
        max_num_batched_tokens=budget,
        max_num_seqs=sequences,
        long_prefill_tokens=static.adaptive or static.prefill or configured.long_prefill_tokens,
        adaptive_long_prefill=bool(static.adaptive) or configured.adaptive_long_prefill,
        watermark=configured.watermark if static.watermark is None else static.watermark,
    )


def filled_tokens(sessions: Sequence[Session], block_tokens: int) -> int:
    """Most KV tokens, in whole blocks, that the sessions and their sub-agents can fill if nothing is evicted."""
    turns = (turn for session in sessions for own in session.tree() for turn in own.turns)
    return sum((turn.new_tokens + turn.output_tokens) // block_tokens + 1 for turn in turns) * block_tokens


def _forecaster(policy: Policy, inputs: PolicyInputs) -> Forecaster:
    if policy.oracle:
        return Oracle(inputs.sessions)
    if not policy.predicts:
        return Forecaster()
    if inputs.predictor is None:
        raise SimulationError(f"policy {policy.name}: no predictor was given; run `dvc repro export`")
    learned = PredictorForecaster(inputs.predictor)
    if policy.knows is None:
        return learned
    quantity, source = policy.knows
    sources: dict[str, Callable[[], Forecaster]] = {
        EXACT: lambda: Oracle(inputs.sessions),
        TABLE: Table,
        NOTHING: Constant,
    }
    return Mixed(learned, Quantity(quantity), sources[source]())


def deployed_scheduler(
    inputs: PolicyInputs, forecaster: Forecaster, budget: Callable[[AsyncScheduler], StepBudget] | None = None
) -> AsyncScheduler:
    """The deployed scheduler with the clock, settings and forecasts of the simulation, and with another rule for the
    budget of each step if one is given."""
    parts = Parts(inputs.settings, lambda _: forecaster, "simulated", budget)
    setup = Setup(inputs.clock, lambda _: parts, trusts_arrivals=True)
    scheduler = type("SimulatedAugServe", (PacedAugServe,), {"setup": setup})
    return build_scheduler(scheduler, inputs.limits, {"augserve": {"mode": "active"}})
