"""`vllm-tuned`: stock vLLM with the static token budget and sequence limit that serve best, a fair rival."""

import dataclasses
from collections.abc import Callable, Sequence

from ..results.metrics_file import Capacities
from ..simulator.catalogue import STATIC_BUDGETS, STATIC_SEQUENCES, static_vllm
from ..simulator.cells.cache import Submit
from .comparison import Evaluation
from .params import VLLM_TUNED, steady

RUNS = len(STATIC_BUDGETS) + len(STATIC_SEQUENCES)
"""Configurations that are tried at most."""


def best_static(scores: Callable[[Sequence[str]], Sequence[float]]) -> str:
    """The best configuration's name, `vllm@<budget>x<sequences>`: the budget first, then the sequences at that budget.

    Of equals the larger goes: it is nearer to vLLM's default. `scores` gives one figure a name, the larger the better.
    """
    most = STATIC_SEQUENCES[-1]
    budget = _best([(budget, min(most, budget)) for budget in reversed(STATIC_BUDGETS)], scores)[0]
    chosen = _best([(budget, sequences) for sequences in reversed(STATIC_SEQUENCES) if sequences <= budget], scores)
    return static_vllm(*chosen)


def search_static(evaluation: Evaluation, capacity90: Capacities, submit: Submit) -> Evaluation:
    """The evaluation with `vllm-tuned` resolved for each workload and profile, on the sessions kept for tuning; a swing
    has the steady mix's."""
    params = evaluation.params
    if VLLM_TUNED not in (*params.policies, *params.capacity_policies, *params.swing_policies):
        return evaluation
    tuning = evaluation.on("tune")
    found = {}
    for job in evaluation.jobs:
        searched = (steady(job[0]), job[1])
        if searched not in found:
            unit = capacity90[job[0]][job[1]]["vllm"] or 0.0
            found[searched] = best_static(_scores(tuning, searched, unit, submit))
        found[job] = found[searched]
    return dataclasses.replace(evaluation, static={job: found[job] for job in evaluation.jobs})


def _scores(
    tuning: Evaluation, job: tuple[str, str], unit_per_s: float, submit: Submit
) -> Callable[[Sequence[str]], list[float]]:
    """Turns in time, relative to the load, mean over `static_loads`. At 2x first come first served is late with any
    setting: nothing is to be learned there."""
    loads = tuning.params.static_loads

    def scores(names: Sequence[str]) -> list[float]:
        futures = [[submit(tuning.cell(*job, name, load * unit_per_s)) for load in loads] for name in names]
        return [
            sum(f.result().metrics["effective_throughput"] / load for f, load in zip(of_name, loads, strict=True))
            / len(loads)
            for of_name in futures
        ]

    return scores


def _best(candidates: Sequence[tuple[int, int]], scores: Callable[[Sequence[str]], Sequence[float]]) -> tuple[int, int]:
    figures = scores([static_vllm(*candidate) for candidate in candidates])
    return candidates[max(range(len(candidates)), key=lambda index: (figures[index], -index))]
