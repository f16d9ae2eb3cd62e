"""The goals that the project set itself beforehand: what each asks of AugServe, and what an evaluation reached."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ...data.workload.mix import MIX_SWING
from ..simulator import catalogue
from .metrics_file import OURS, UNTUNED, EvaluationResults, Job, Metrics
from .tables import GOODPUT, NONE, SESSION_GOODPUT

CAPACITY = "capacity90"
MAIN_LOAD = 2.0
"""The load of most goals. A swing has one mean load, at which these goals are asked instead."""
VLLM, ORACLE = catalogue.VLLM.name, catalogue.ORACLE.name
UNCACHED_FIRST = catalogue.UNCACHED_FIRST.name


@dataclass(frozen=True, slots=True)
class Goal:
    """AugServe's `metric` must be `least` times that of `base`, at each of `loads` (none: at all loads of both).

    Where `falls` is set, AugServe's metric must be lower than that of `base` by the share `least`.
    """

    name: str  # in metrics.json
    title: str
    least: float
    metric: str
    base: str
    loads: tuple[float, ...] = ()
    falls: bool = False

    def value(self, ours: Metrics, base: Metrics) -> float | None:
        """None where the base is 0."""
        if base[self.metric] <= 0:
            return None
        ratio = ours[self.metric] / base[self.metric]
        return 1 - ratio if self.falls else ratio

    def text(self, value: float) -> str:
        return f"−{value:.1%}".replace("−-", "+") if self.falls else f"{value:.3g}×"


MAIN = (MAIN_LOAD,)
TUNED, STATIC_BUDGET, P_PAS = catalogue.VLLM_TUNED.name, catalogue.STATIC_BUDGET.name, catalogue.P_PAS_BUDGET.name
GOALS = (
    Goal("turns_over_vllm_2x", "goodput to stock vLLM", 6.5, GOODPUT, VLLM, MAIN),
    Goal("turns_over_vllm_3x", "goodput to stock vLLM", 15.0, GOODPUT, VLLM, (3.0,)),
    Goal("turns_over_infercept_2x", "goodput to InferCept", 4.7, GOODPUT, catalogue.INFERCEPT.name, MAIN),
    Goal("turns_over_tuned_2x", "goodput to stock vLLM's best static setting", 4.0, GOODPUT, TUNED, MAIN),
    Goal("turns_over_uncached_first_2x", "goodput to uncached-first", 1.1, GOODPUT, UNCACHED_FIRST, MAIN),
    Goal(
        "sessions_over_uncached_first_2x",
        "session goodput to uncached-first",
        1.35,
        SESSION_GOODPUT,
        UNCACHED_FIRST,
        MAIN,
    ),
    Goal("sessions_over_vllm_2x", "session goodput to stock vLLM", 4.5, SESSION_GOODPUT, VLLM, MAIN),
    Goal(CAPACITY, "capacity@90 to stock vLLM", 1.5, CAPACITY, VLLM),
    Goal("ttft_p50_2x_3x", "TTFT p50 to stock vLLM", 0.98, "ttft_p50_s", VLLM, (2.0, 3.0), falls=True),
    Goal("ttft_mean_1.4x", "mean TTFT to stock vLLM", 0.96, "ttft_mean_s", VLLM, (1.4,), falls=True),
    Goal("turns_never_below_vllm", "goodput at every load to stock vLLM", 0.99, GOODPUT, VLLM),
    Goal("throughput_never_below_vllm", "throughput at every load to stock vLLM", 0.98, "throughput", VLLM),
    Goal("turns_over_oracle_2x", "goodput to AugServe with perfect predictions", 0.95, GOODPUT, ORACLE, MAIN),
    Goal("tuned_over_default_2x", "goodput to hand-set settings", 1.1, GOODPUT, UNTUNED, MAIN),
    Goal("tuned_never_below_default", "goodput at every load to hand-set settings", 0.99, GOODPUT, UNTUNED),
)
SWING_GOALS = (
    Goal("budget_over_static", "goodput to the best static budget", 1.0, GOODPUT, STATIC_BUDGET),
    Goal("budget_over_p_pas", "goodput to the budget rule of P-PAS", 1.0, GOODPUT, P_PAS),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A goal on one workload and profile, at the load where AugServe does worst. `reached` None: the base is 0."""

    goal: Goal
    load: str
    reached: float | None
    met: bool


def outcomes(results: EvaluationResults, job: Job) -> list[Outcome]:
    """Of every goal that was measured."""
    by_load = results.by_load(job)
    rates = {policy: {CAPACITY: rate or 0.0} for policy, rate in results.capacity90[job[0]][job[1]].items()}
    if job[0] == MIX_SWING:  # it has one load, and no capacity of its own
        asked = [goal for goal in GOALS if goal.metric != CAPACITY and (not goal.loads or MAIN_LOAD in goal.loads)]
        found = [_outcome(goal, by_load, ()) for goal in (*asked, *SWING_GOALS)]
    else:
        found = [_outcome(goal, {NONE: rates} if goal.metric == CAPACITY else by_load, goal.loads) for goal in GOALS]
    return [outcome for outcome in found if outcome is not None]


def goal_table(results: EvaluationResults, job: Job) -> pd.DataFrame:
    """One row a goal that was measured: what was asked, reached and met."""
    return pd.DataFrame(
        {
            "goal": outcome.goal.title,
            "load": NONE if outcome.load == NONE else f"{outcome.load}×",
            "asked": outcome.goal.text(outcome.goal.least),
            "reached": NONE if outcome.reached is None else outcome.goal.text(outcome.reached),
            "met": "yes" if outcome.met else "no",
        }
        for outcome in outcomes(results, job)
    )


def goal_summary(results: EvaluationResults) -> dict[Job, dict[str, Any]]:
    """For metrics.json: by goal what was asked and reached, and 1 where it was met."""
    return {
        job: {
            outcome.goal.name: {"asked": outcome.goal.least, "reached": outcome.reached, "held": int(outcome.met)}
            for outcome in outcomes(results, job)
        }
        for job in results.jobs
    }


def _outcome(goal: Goal, by_load: Mapping[str, Mapping[str, Metrics]], loads: tuple[float, ...]) -> Outcome | None:
    """None where AugServe and the base did not both run at each of the loads."""
    both = [load for load, cells in by_load.items() if OURS in cells and goal.base in cells]
    asked = [load for load in both if not loads or float(load) in loads]
    if len(asked) < max(len(loads), 1):
        return None
    values = {load: goal.value(by_load[load][OURS], by_load[load][goal.base]) for load in asked}
    finite = {load: value for load, value in values.items() if value is not None}
    if not finite:
        return Outcome(goal, asked[0], None, all(by_load[load][OURS][goal.metric] > 0 for load in asked))
    worst = min(finite, key=lambda load: finite[load])
    return Outcome(goal, worst, finite[worst], finite[worst] >= goal.least)
