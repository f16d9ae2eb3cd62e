"""Policies compared: every cell of workloads x profiles x loads x policies x seeds, and each policy's capacity@90."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from ...data.tables.splits import SPLIT_SEEDS, Use
from ...data.workload.mix import MIX
from ...data.workload.trace_set import Split
from ...models.serving.settings import SchedulerSettings, StepTime
from ..project.stage import StageError
from ..project.tracking import experiment_run
from ..results.budgets import STATIC_BUDGET, Tried, best_budget
from ..results.intervals import cells_of
from ..results.metrics_file import Capacities, Results
from ..simulator.catalogue import static_augserve
from ..simulator.cells.cache import Submit
from ..simulator.cells.capacity import Bracket, bracket, capacity, narrow
from ..simulator.cells.cell import Cell
from ..simulator.record.evidence import Evidence
from .params import VLLM_TUNED, ComparisonParams, steady

MODELS = Path("models/onnx")
PROFILES = Path("data/profiles")
CELLS = Path("data/cells")
"""Results of cells by what they depend on; see simulator/cell_cache.py."""
SEED_STEP = 1000
"""Between the seeds of the runs of a cell."""

STOCK_BOUNDS = (0.5, 1.5)
"""Where stock vLLM's capacity@90 is searched, multiples of what `tune` found on its own sessions."""

Evidences = dict[tuple[str, str, str], dict[str, list[Evidence]]]
"""(workload, profile, load) → policy → its runs, one a seed."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What all cells share."""

    params: ComparisonParams
    seed: int
    settings: SchedulerSettings
    guess_per_s: float  # about where stock vLLM's capacity@90 lies, sessions/s
    split: Split | None = None  # the sessions of traces that may serve; needed where a workload is traces
    static: Mapping[tuple[str, str], str] = field(default_factory=dict)  # VLLM_TUNED by workload and profile
    budgets: Mapping[tuple[str, str], Tried] = field(default_factory=dict)  # the best is STATIC_BUDGET's, the same way
    guesses: Mapping[tuple[str, str], float] = field(default_factory=dict)  # as guess_per_s, of what tuning never ran
    step_times: Mapping[str, StepTime] = field(default_factory=dict)  # of profiles, as a bundle for them would state

    def cell(self, workload: str, profile: str, policy: str, rate_per_s: float, seed: int = 0) -> Cell:
        """The run number `seed` of a cell: the same sessions for every policy."""
        schedule = self.params.schedule(workload)
        path = PROFILES / f"{profile}.json"
        if policy == VLLM_TUNED:
            policy = self.static[workload, profile]
        if policy == STATIC_BUDGET and (tried := self.budgets.get((workload, profile))):
            policy = static_augserve(best_budget(tried))
        settings = self.settings
        if profile in self.step_times:
            settings = dataclasses.replace(settings, step_time=self.step_times[profile], profile=profile)
        at = self.seed + seed * SEED_STEP
        return Cell(workload, policy, path, rate_per_s, at, schedule, settings, MODELS, self.split)

    def on(self, use: Use) -> Self:
        """The same on the sessions of another split than those for reporting."""
        seed = self.seed + SPLIT_SEEDS[use] - SPLIT_SEEDS["report"]
        split = None if self.split is None else dataclasses.replace(self.split, use=use)
        return dataclasses.replace(self, seed=seed, split=split)

    @property
    def jobs(self) -> list[tuple[str, str]]:
        return [(workload, profile) for workload in self.params.workloads for profile in self.params.profiles]

    @property
    def searched_jobs(self) -> list[tuple[str, str]]:
        """Those that have a capacity of their own: a swing is given in multiples of the steady mix's."""
        return list(dict.fromkeys((steady(workload), profile) for workload, profile in self.jobs))

    def attainment(self, submit: Submit, job: tuple[str, str], policy: str) -> Callable[[Sequence[float]], list[float]]:
        """What gives the share of turns in time at rates, over all seeds; the runs of one call go side by side."""

        def at(rates: Sequence[float]) -> list[float]:
            seeds = range(self.params.seeds)
            futures = [[submit(self.cell(*job, policy, rate, seed)) for seed in seeds] for rate in rates]
            return [sum(f.result().metrics["attainment"] for f in of_rate) / len(of_rate) for of_rate in futures]

        return at


def compare(evaluation: Evaluation, capacity90: Capacities, submit: Submit) -> Evidences:
    """Run every cell; the heaviest loads start first, so that none is left for the end."""
    params, futures = evaluation.params, {}
    planned = [(load, job) for job in evaluation.jobs for load in params.loads_of(job[0])]
    for load, job in sorted(planned, key=lambda one: -one[0]):
        rate_per_s = load * (capacity90[job[0]][job[1]]["vllm"] or 0.0)
        for policy in params.policies_at(job[0], load):
            runs = [submit(evaluation.cell(*job, policy, rate_per_s, n)) for n in range(params.seeds)]
            futures[(*job, f"{load:g}"), policy] = runs
    found: Evidences = {}
    for (name, policy), runs in futures.items():
        found.setdefault(name, {})[policy] = [run.result() for run in runs]
    return found


def results_of(evidences: Evidences, seed: int, parent_id: str) -> Results:
    """The cells with their intervals, each an MLflow run, nested in that of the whole comparison."""
    results: Results = {}
    for (workload, profile, load), runs in sorted(evidences.items()):
        cells = cells_of(runs, seed)
        results.setdefault(workload, {}).setdefault(profile, {})[load] = cells
        for policy, cell in cells.items():
            facts = {"workload": workload, "profile": profile, "load": load, "policy": policy}
            name = f"{policy} at {load}x, {workload}"
            with experiment_run("evaluation", name, facts, facts | {"kind": "cell"}, parent_id) as run:
                run.log_metrics(cell)
    return results


def stock_capacities(evaluation: Evaluation, submit: Submit) -> Capacities:
    """Capacity@90 of stock vLLM for each workload and profile: load 1x. Raises StageError where it is not found."""
    params, guess = evaluation.params, evaluation.guess_per_s
    found: Capacities = {}
    for job in evaluation.searched_jobs:
        attainments = evaluation.attainment(submit, job, "vllm")
        if job[0] == MIX and job not in evaluation.guesses:
            low, high = STOCK_BOUNDS[0] * guess, STOCK_BOUNDS[1] * guess
            unit = capacity(attainments, low, high, params.capacity_rounds)
        else:  # what tuning found says little of other sessions and engines
            low, high = bracket(attainments, evaluation.guesses.get(job, guess))
            unit = capacity(attainments, low, high, params.capacity_rounds) or low
        if unit is None:
            raise StageError(
                f"{params.SECTION}: stock vLLM misses the SLO from {STOCK_BOUNDS[0] * guess:.1f} sessions/s on; "
                "run `dvc repro tune` anew"
            )
        found.setdefault(job[0], {})[job[1]] = {"vllm": unit}
    return {name: {at: dict(of) for at, of in found[steady(name)].items()} for name in params.workloads}


def capacities(
    evaluation: Evaluation, stock: Capacities, evidences: Evidences, submit: Submit
) -> tuple[Capacities, Capacities]:
    """Capacity@90 of the policies asked for, and the lowest rates tried above that missed it (stock vLLM has none
    named), each narrowed from what its cells have shown, all policies side by side."""
    params = evaluation.params
    jobs = [job for job in evaluation.jobs if job in evaluation.searched_jobs]
    names = [(job, policy) for job in jobs for policy in params.capacity_policies if policy != "vllm"]

    def search(name: tuple[tuple[str, str], str]) -> Bracket:
        job, policy = name
        attainments = evaluation.attainment(submit, job, policy)
        unit = stock[job[0]][job[1]]["vllm"] or 0.0
        known = shown(evidences, job, policy, unit)
        return narrow(lambda rate: attainments((rate,))[0], known, unit, params.capacity_within)

    reached: Capacities = {name: {at: dict(of) for at, of in profiles.items()} for name, profiles in stock.items()}
    missed: Capacities = {name: {at: {} for at in profiles} for name, profiles in stock.items()}
    with ThreadPoolExecutor(max(len(names), 1)) as threads:  # they only wait for the processes
        for (job, policy), found in zip(names, threads.map(search, names), strict=True):
            reached[job[0]][job[1]][policy] = found.reached
            missed[job[0]][job[1]][policy] = found.missed
    return reached, missed


def shown(evidences: Evidences, job: tuple[str, str], policy: str, unit_per_s: float) -> dict[float, float]:
    """The share of turns in time by sessions/s that a policy's cells have shown, over all seeds."""
    return {
        float(load) * unit_per_s: sum(run.metrics["attainment"] for run in runs[policy]) / len(runs[policy])
        for (*at, load), runs in evidences.items()
        if tuple(at) == job and policy in runs
    }
