"""`augserve-static-budget`: AugServe with the static token budget that serves best, a fair rival of the steered one."""

import dataclasses

from ..results.metrics_file import Capacities
from ..simulator.catalogue import static_augserve
from ..simulator.cells.cache import Submit
from .comparison import Evaluation


def search_budgets(evaluation: Evaluation, capacity90: Capacities, submit: Submit) -> Evaluation:
    """The evaluation with what AugServe serves with each of `static_budgets`, where it is to run with one: on the
    sessions kept for selecting, at the load at which its parts are left out, for each workload and profile."""
    params, selecting = evaluation.params, evaluation.on("select")
    jobs = [job for job in evaluation.jobs if job[0] in params.budgeted]
    futures = {}
    for workload, profile in jobs:
        rate_per_s = params.main_load(workload) * (capacity90[workload][profile]["vllm"] or 0.0)
        for budget in params.static_budgets:
            cell = selecting.cell(workload, profile, static_augserve(budget), rate_per_s)
            futures[(workload, profile), str(budget)] = submit(cell)
    found: dict[tuple[str, str], dict[str, float]] = {job: {} for job in jobs}
    for (job, name), run in futures.items():
        found[job][name] = run.result().metrics["effective_throughput"]
    return dataclasses.replace(evaluation, budgets=found)
