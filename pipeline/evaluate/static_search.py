"""The best static settings: of stock vLLM for `vllm-tuned`, of AugServe for `augserve-static-budget`.

A fair comparison gives both a static setting that was searched, on sessions that the report does not see.
"""

import dataclasses
from collections.abc import Callable, Sequence

from ..results.metrics_file import Capacities, Job
from ..simulator.catalogue import STATIC_BUDGETS, STATIC_SEQUENCES, static_augserve, static_vllm
from ..simulator.cells.cache import Submit
from .evaluation import Evaluation
from .params import VLLM_TUNED, steady

Scores = Callable[[Sequence[str]], Sequence[float]]
"""One score a policy name, the larger the better."""


def search_static(evaluation: Evaluation, capacity90: Capacities, submit: Submit) -> Evaluation:
    """Resolve `vllm-tuned` for each job, on the sessions of tuning. A swing has the setting of the steady mix."""
    params = evaluation.params
    if VLLM_TUNED not in (*params.policies, *params.capacity_policies, *params.swing_policies):
        return evaluation
    tuning, best = evaluation.on("tune"), {}
    for job in evaluation.jobs:
        searched = (steady(job[0]), job[1])
        if searched not in best:
            unit_per_s = capacity90[job[0]][job[1]]["vllm"] or 0.0
            best[searched] = best_static(_scores(tuning, searched, unit_per_s, submit))
    return dataclasses.replace(evaluation, static={job: best[steady(job[0]), job[1]] for job in evaluation.jobs})


def search_budgets(evaluation: Evaluation, capacity90: Capacities, submit: Submit) -> Evaluation:
    """Try each of `static_budgets` in AugServe at the load of the ablations, on the sessions of selection."""
    params, selecting = evaluation.params, evaluation.on("select")
    futures = {}
    for job in evaluation.jobs:
        if job[0] in params.budgeted:
            rate_per_s = params.main_load(job[0]) * (capacity90[job[0]][job[1]]["vllm"] or 0.0)
            cells = {
                budget: selecting.cell(job, static_augserve(budget), rate_per_s) for budget in params.static_budgets
            }
            futures[job] = {str(budget): submit(cell) for budget, cell in cells.items()}
    goodputs = {
        job: {budget: run.result().metrics["effective_throughput"] for budget, run in runs.items()}
        for job, runs in futures.items()
    }
    return dataclasses.replace(evaluation, budgets=goodputs)


def best_static(
    scores: Scores, budgets: Sequence[int] = STATIC_BUDGETS, sequences: Sequence[int] = STATIC_SEQUENCES
) -> str:
    """The policy `vllm@BUDGETxSEQUENCES` with the best score: the budget first, then the sequences at that budget.

    Both grids ascend. Of equals the larger value wins, because it is nearer to the default of vLLM.
    """
    most = sequences[-1]
    budget = _best([(budget, min(most, budget)) for budget in reversed(budgets)], scores)[0]
    return static_vllm(*_best([(budget, count) for count in reversed(sequences) if count <= budget], scores))


def _scores(tuning: Evaluation, job: Job, unit_per_s: float, submit: Submit) -> Scores:
    """Goodput divided by the load, the mean over `static_loads`.

    At 2x stock vLLM is late with every setting, so that load distinguishes none.
    """
    loads = tuning.params.static_loads

    def scores(names: Sequence[str]) -> list[float]:
        futures = [[submit(tuning.cell(job, name, load * unit_per_s)) for load in loads] for name in names]
        return [
            sum(f.result().metrics["effective_throughput"] / load for f, load in zip(own, loads, strict=True))
            / len(loads)
            for own in futures
        ]

    return scores


def _best(candidates: Sequence[tuple[int, int]], scores: Scores) -> tuple[int, int]:
    values = scores([static_vllm(*candidate) for candidate in candidates])
    return candidates[max(range(len(candidates)), key=lambda index: (values[index], -index))]
