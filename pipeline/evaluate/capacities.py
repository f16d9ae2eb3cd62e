"""Capacity@90 of each policy: of stock vLLM first, since it is load 1x, then of the others from their cells."""

from concurrent.futures import ThreadPoolExecutor

from ...data.workload.mix import MIX
from ..project.stage import StageError
from ..results.metrics_file import Capacities, Job, is_closed
from ..simulator.cells.cache import Submit
from ..simulator.cells.capacity import Bracket, bracket, capacity, narrow
from .distributions import Evidences
from .evaluation import Evaluation
from .params import steady

STOCK_BOUNDS = (0.5, 1.5)
"""Bounds of the search for stock vLLM's capacity, multiples of the capacity that `tune` found on its sessions."""
FIRST_GUESS_PER_S = 1.0
"""Where nothing is known."""


def stock_capacities(evaluation: Evaluation, submit: Submit) -> Capacities:
    """Capacity@90 of stock vLLM on each job. Raises StageError where it lies below the bounds of the search."""
    params, guess = evaluation.params, evaluation.guess_per_s
    searched: Capacities = {}
    for job in evaluation.searched_jobs:
        attainments = evaluation.attainment(submit, job, "vllm")
        if guess is not None and job[0] == MIX and job not in evaluation.guesses:
            low, high = STOCK_BOUNDS[0] * guess, STOCK_BOUNDS[1] * guess
            unit = capacity(attainments, low, high, params.capacity_rounds)
        else:  # other sessions and engines may be far from the capacity of tuning
            low, high = bracket(attainments, evaluation.guesses.get(job) or guess or FIRST_GUESS_PER_S)
            unit = capacity(attainments, low, high, params.capacity_rounds) or low
        if unit is None:
            raise StageError(
                f"{params.SECTION}: stock vLLM misses the SLO from {low:.1f} sessions/s on; run `dvc repro tune` again"
            )
        searched.setdefault(job[0], {})[job[1]] = {"vllm": unit}
    return {
        workload: {profile: dict(rates) for profile, rates in searched[steady(workload)].items()}
        for workload in params.workloads
    }


def capacities(
    evaluation: Evaluation, stock: Capacities, evidences: Evidences, submit: Submit
) -> tuple[Capacities, Capacities]:
    """Capacity@90 of each policy that params.yaml asks for, and the lowest rate above it that missed 90 %.

    The search starts from the cells of a policy, and runs all policies side by side. Stock vLLM has no miss.
    """
    params = evaluation.params
    jobs = [job for job in evaluation.jobs if job in evaluation.searched_jobs]
    searches = [(job, policy) for job in jobs for policy in params.capacity_policies if policy != "vllm"]

    def search(name: tuple[Job, str]) -> Bracket:
        job, policy = name
        attainments = evaluation.attainment(submit, job, policy)
        unit = stock[job[0]][job[1]]["vllm"] or 0.0
        shown = shown_attainments(evidences, job, policy, unit)
        return narrow(lambda rate: attainments((rate,))[0], shown, unit, params.capacity_within)

    reached: Capacities = {
        name: {at: dict(rates) for at, rates in profiles.items()} for name, profiles in stock.items()
    }
    missed: Capacities = {name: {at: {} for at in profiles} for name, profiles in stock.items()}
    with ThreadPoolExecutor(max(len(searches), 1)) as threads:  # they only wait for the processes
        for (job, policy), result in zip(searches, threads.map(search, searches), strict=True):
            reached[job[0]][job[1]][policy] = result.reached
            missed[job[0]][job[1]][policy] = result.missed
    return reached, missed


def shown_attainments(evidences: Evidences, job: Job, policy: str, unit_per_s: float) -> dict[float, float]:
    """Sessions/s → SLO attainment of a policy in its cells, over all seeds."""
    return {
        float(load.removesuffix("x")) * unit_per_s: sum(run.metrics["attainment"] for run in runs[policy])
        / len(runs[policy])
        for (*own, load), runs in evidences.items()
        if tuple(own) == job and not is_closed(load) and policy in runs
    }
