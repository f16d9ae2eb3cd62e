"""Policies compared: every cell of workloads x profiles x loads x policies x seeds, and each policy's capacity@90."""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from ..data.mix import MIX
from ..data.trace_set import Split
from ..models.settings import SchedulerSettings, StepTime
from .evaluation.intervals import cells_of
from .evaluation.results import Capacities, Results
from .params import require
from .simulator.ablations import ABLATIONS, NO_PREDICTORS
from .simulator.capacity import bisect, bracket, capacity
from .simulator.cell import Cell, Schedule, workload_names
from .simulator.cell_cache import Submit
from .simulator.evidence import Evidence
from .simulator.policies import POLICIES
from .stage import StageError
from .tracking import experiment_run

MODELS = Path("models/onnx")
PROFILES = Path("data/profiles")
CELLS = Path("data/cells")
"""Results of cells by what they depend on; see simulator/cell_cache.py."""
VLLM_TUNED = "vllm-tuned"
"""Stock vLLM's best static configuration, another one for each workload and profile; see static_search.py."""
SEED_STEP = 1000
"""Between the seeds of the runs of a cell."""

STOCK_BOUNDS = (0.5, 1.5)
"""Where stock vLLM's capacity@90 is searched, multiples of what `tune` found on its own sessions."""
OTHER_BOUNDS = (0.9, 1.9)
"""Where the other policies' is, multiples of stock vLLM's; what is beyond is given as about the upper one."""
EXTRA_ROUNDS = 1
"""Of bisection, which halves where stock vLLM's search leaves a third."""

Evidences = dict[tuple[str, str, str], dict[str, list[Evidence]]]
"""(workload, profile, load) → policy → its runs, one a seed."""


@dataclass(frozen=True, slots=True)
class ComparisonParams:
    """What a section of params.yaml says that compares policies; it is named by the subclass."""

    SECTION: ClassVar[str]

    workloads: tuple[str, ...]
    profiles: tuple[str, ...]
    policies: tuple[str, ...]
    ablations: tuple[str, ...]
    loads: tuple[float, ...]
    seeds: int
    capacity_policies: tuple[str, ...]
    capacity_rounds: int
    static_loads: tuple[float, ...]
    warmup_s: float
    window_s: float
    drain_s: float
    trace_warmup_s: float
    trace_window_s: float
    processes: int

    def __post_init__(self) -> None:
        self._require_known("workloads", workload_names())
        self._require_known("policies", (*POLICIES, VLLM_TUNED))
        self._require("vllm" in self.policies, "policies", "a list with vllm, the yardstick")
        if self.ablations:
            self._require_known("ablations", (*ABLATIONS, NO_PREDICTORS))
        self._require_known("capacity_policies", (*POLICIES, VLLM_TUNED))
        rule = "a list with vllm, whose capacity is load 1x"
        self._require("vllm" in self.capacity_policies, "capacity_policies", rule)
        self._require(bool(self.profiles), "profiles", "a list of profiles")
        for key in ("loads", "static_loads"):
            values = getattr(self, key)
            self._require(bool(values) and min(values) > 0, key, "a list of positive numbers")
        self._require(1 <= self.seeds <= 100, "seeds", "from 1 to 100")
        self._require(1 <= self.capacity_rounds <= 12, "capacity_rounds", "from 1 to 12")
        self._require(self.warmup_s >= 0, "warmup_s", "0 or more")
        self._require(self.window_s > 0, "window_s", "positive")
        self._require(self.drain_s >= 0, "drain_s", "0 or more")
        self._require(self.trace_warmup_s >= 0, "trace_warmup_s", "0 or more")
        self._require(self.trace_window_s > 0, "trace_window_s", "positive")
        self._require(1 <= self.processes <= 256, "processes", "from 1 to 256")

    def _require(self, holds: bool, key: str, rule: str) -> None:
        require(holds, f"{self.SECTION}.{key}", getattr(self, key), rule)

    def _require_known(self, key: str, known: Collection[str]) -> None:
        values = getattr(self, key)
        if unknown := sorted(set(values) - set(known)):
            self._require(False, key, f"a list without {unknown[0]!r}, which is unknown; known are {', '.join(known)}")
        self._require(bool(values), key, f"a list of some of {', '.join(known)}")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What all cells share."""

    params: ComparisonParams
    seed: int
    settings: SchedulerSettings
    guess_per_s: float  # about where stock vLLM's capacity@90 lies, sessions/s
    split: Split | None = None  # the sessions of traces that may serve; needed where a workload is traces
    static: Mapping[tuple[str, str], str] = field(default_factory=dict)  # VLLM_TUNED by workload and profile
    guesses: Mapping[tuple[str, str], float] = field(default_factory=dict)  # as guess_per_s, of what tuning never ran
    step_times: Mapping[str, StepTime] = field(default_factory=dict)  # of profiles, as a bundle for them would state

    def cell(self, workload: str, profile: str, policy: str, rate_per_s: float, seed: int = 0) -> Cell:
        """The run number `seed` of a cell: the same sessions for every policy."""
        params = self.params
        if workload == MIX:
            schedule = Schedule(params.warmup_s, params.window_s, params.drain_s)
        else:  # recorded sessions are few, long, and begin with a cold cache
            schedule = Schedule(params.trace_warmup_s, params.trace_window_s, params.drain_s)
        path = PROFILES / f"{profile}.json"
        if policy == VLLM_TUNED:
            policy = self.static[workload, profile]
        settings = self.settings
        if profile in self.step_times:
            settings = dataclasses.replace(settings, step_time=self.step_times[profile], profile=profile)
        at = self.seed + seed * SEED_STEP
        return Cell(workload, policy, path, rate_per_s, at, schedule, settings, MODELS, self.split)

    @property
    def jobs(self) -> list[tuple[str, str]]:
        return [(workload, profile) for workload in self.params.workloads for profile in self.params.profiles]

    def policies_at(self, load: float) -> tuple[str, ...]:
        """Ablations run at the highest load alone, where there is most to lose."""
        params = self.params
        more = params.ablations if load == max(params.loads) else ()
        return tuple(dict.fromkeys((*params.policies, *more)))

    def attainment(self, submit: Submit, job: tuple[str, str], policy: str) -> Callable[[Sequence[float]], list[float]]:
        """What gives the share of turns in time at rates, over all seeds; the runs of one call go side by side."""

        def at(rates: Sequence[float]) -> list[float]:
            seeds = range(self.params.seeds)
            futures = [[submit(self.cell(*job, policy, rate, seed)) for seed in seeds] for rate in rates]
            return [sum(f.result().metrics["attainment"] for f in of_rate) / len(of_rate) for of_rate in futures]

        return at


def planned_runs(params: ComparisonParams, static_runs: int) -> int:
    """How many simulations a comparison asks for, about: what a search on traces takes to begin is not known."""
    searched = [policy for policy in params.capacity_policies if policy != "vllm"]
    cells = len(params.policies) * len(params.loads) + len(set(params.ablations) - set(params.policies))
    capacities = (2 * params.capacity_rounds + (params.capacity_rounds + EXTRA_ROUNDS) * len(searched)) * params.seeds
    static = static_runs if VLLM_TUNED in (*params.policies, *params.capacity_policies) else 0
    return len(params.workloads) * len(params.profiles) * (cells * params.seeds + capacities + static)


def compare(evaluation: Evaluation, capacity90: Capacities, submit: Submit) -> Evidences:
    """Run every cell; the heaviest loads start first, so that none is left for the end."""
    futures = {}
    for load in sorted(evaluation.params.loads, reverse=True):
        for job in evaluation.jobs:
            rate_per_s = load * (capacity90[job[0]][job[1]]["vllm"] or 0.0)
            for policy in evaluation.policies_at(load):
                runs = [submit(evaluation.cell(*job, policy, rate_per_s, n)) for n in range(evaluation.params.seeds)]
                futures[(*job, f"{load:g}"), policy] = runs
    found: Evidences = {}
    for (name, policy), runs in futures.items():
        found.setdefault(name, {})[policy] = [run.result() for run in runs]
    return found


def results_of(evidences: Evidences, seed: int) -> Results:
    """The cells with their intervals, each an MLflow run, nested in one of the evaluation."""
    results: Results = {}
    with experiment_run("evaluation", "cells", {"seed": seed}, {"kind": "evaluation"}) as parent:
        for (workload, profile, load), runs in sorted(evidences.items()):
            cells = cells_of(runs, seed)
            results.setdefault(workload, {}).setdefault(profile, {})[load] = cells
            for policy, cell in cells.items():
                facts = {"workload": workload, "profile": profile, "load": load, "policy": policy}
                with experiment_run("evaluation", f"{policy}-{load}x", facts, {"policy": policy}, parent.id) as run:
                    run.log_metrics(cell)
    return results


def stock_capacities(evaluation: Evaluation, submit: Submit) -> Capacities:
    """Capacity@90 of stock vLLM for each workload and profile: load 1x. Raises StageError where it is not found."""
    params, guess = evaluation.params, evaluation.guess_per_s
    found: Capacities = {}
    for job in evaluation.jobs:
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
    return found


def capacities(evaluation: Evaluation, stock: Capacities, submit: Submit) -> Capacities:
    """Capacity@90 of the policies asked for, by bisection about stock vLLM's, all policies side by side."""
    params = evaluation.params
    names = [(job, policy) for job in evaluation.jobs for policy in params.capacity_policies if policy != "vllm"]

    def search(name: tuple[tuple[str, str], str]) -> float | None:
        job, policy = name
        attainments = evaluation.attainment(submit, job, policy)
        unit = stock[job[0]][job[1]]["vllm"] or 0.0
        low, high = (bound * unit for bound in OTHER_BOUNDS)
        return bisect(lambda rate: attainments((rate,))[0], low, high, params.capacity_rounds + EXTRA_ROUNDS)

    found: Capacities = {
        workload: {at: dict(of) for at, of in profiles.items()} for workload, profiles in stock.items()
    }
    with ThreadPoolExecutor(max(len(names), 1)) as threads:  # they only wait for the processes
        for (job, policy), rate in zip(names, threads.map(search, names), strict=True):
            found[job[0]][job[1]][policy] = rate
    return found
