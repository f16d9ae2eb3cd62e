"""Stage `evaluate`: policies compared at several loads, on sessions that neither training nor tuning has seen."""

import json
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ..data.atomic import write_json, write_text
from ..data.mix import MIX
from ..data.tokens import SPLIT_SEEDS
from ..data.trace_set import Split
from ..models.settings import SchedulerSettings
from .params import BaseParams, load_params, require
from .prepare import PrepareParams
from .simulator.capacity import bracket, capacity
from .simulator.cell import Cell, Schedule, workload_names
from .simulator.parallel import Submit, workers
from .simulator.policies import POLICIES
from .simulator.report import Capacities, Metrics, Results, plot_rows, summarize, table
from .stage import StageError, run_stage
from .tracking import experiment_run

MODELS = Path("models/onnx")
PROFILES = Path("data/profiles")
TUNED = Path("models/tuned")
REPORTS = Path("reports/evaluate")

STOCK_BOUNDS = (0.5, 1.5)
"""Where stock vLLM's capacity@90 is searched, multiples of what `tune` found on its own sessions."""
OTHER_BOUNDS = (0.8, 2.0)
"""Where the other policies' is, multiples of stock vLLM's."""


@dataclass(frozen=True, slots=True)
class EvaluateParams:
    workloads: tuple[str, ...]
    profiles: tuple[str, ...]
    policies: tuple[str, ...]
    loads: tuple[float, ...]
    capacity_policies: tuple[str, ...]
    capacity_rounds: int
    warmup_s: float
    window_s: float
    drain_s: float
    processes: int

    def __post_init__(self) -> None:
        _require_known("workloads", self.workloads, workload_names())
        _require_known("policies", self.policies, POLICIES)
        require("vllm" in self.policies, "evaluate.policies", self.policies, "a list with vllm, the yardstick")
        _require_known("capacity_policies", self.capacity_policies, POLICIES)
        rule = "a list with vllm, whose capacity is load 1x"
        require("vllm" in self.capacity_policies, "evaluate.capacity_policies", self.capacity_policies, rule)
        require(bool(self.profiles), "evaluate.profiles", self.profiles, "a list of profiles")
        require(bool(self.loads) and min(self.loads) > 0, "evaluate.loads", self.loads, "a list of positive numbers")
        require(1 <= self.capacity_rounds <= 12, "evaluate.capacity_rounds", self.capacity_rounds, "from 1 to 12")
        require(self.warmup_s >= 0, "evaluate.warmup_s", self.warmup_s, "0 or more")
        require(self.window_s > 0, "evaluate.window_s", self.window_s, "positive")
        require(self.drain_s >= 0, "evaluate.drain_s", self.drain_s, "0 or more")
        require(1 <= self.processes <= 256, "evaluate.processes", self.processes, "from 1 to 256")


def _require_known(key: str, values: tuple[str, ...], known: Collection[str]) -> None:
    rule = f"a list of some of {', '.join(known)}"
    require(bool(values) and set(values) <= set(known), f"evaluate.{key}", list(values), rule)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What all cells share."""

    params: EvaluateParams
    seed: int
    settings: SchedulerSettings
    guess_per_s: float  # about where stock vLLM's capacity@90 lies, sessions/s
    split: Split | None = None  # the sessions of traces that may serve; needed where a workload is traces

    def cell(self, workload: str, profile: str, policy: str, rate_per_s: float) -> Cell:
        schedule = Schedule(self.params.warmup_s, self.params.window_s, self.params.drain_s)
        path = PROFILES / f"{profile}.json"
        return Cell(workload, policy, path, rate_per_s, self.seed, schedule, self.settings, MODELS, self.split)


def compare(evaluation: Evaluation, capacity90: Capacities, submit: Submit) -> Results:
    """Run every cell, each an MLflow run; the heaviest loads start first, so that none is left for the end."""
    params = evaluation.params
    names = [
        (workload, profile, load, policy)
        for load in sorted(params.loads, reverse=True)
        for workload in params.workloads
        for profile in params.profiles
        for policy in params.policies
    ]
    futures = {}
    for name in names:
        workload, profile, load, policy = name
        rate_per_s = load * (capacity90[workload][profile]["vllm"] or 0.0)
        futures[submit(evaluation.cell(workload, profile, policy, rate_per_s))] = name
    found: dict[tuple[str, str, float, str], Metrics] = {}
    for future in tqdm(as_completed(futures), total=len(futures), desc="evaluate", unit="cell"):
        name = futures[future]
        found[name] = future.result()
        facts = dict(zip(("workload", "profile", "load", "policy"), name, strict=True))
        with experiment_run("evaluation", f"{name[3]}-{name[2]:g}x", facts, {"policy": name[3]}) as run:
            run.log_metrics(found[name])
    results: Results = {}
    for workload, profile, load, policy in sorted(names):
        at = results.setdefault(workload, {}).setdefault(profile, {}).setdefault(f"{load:g}", {})
        at[policy] = found[workload, profile, load, policy]
    return results


def capacities(evaluation: Evaluation, submit: Submit) -> Capacities:
    """Capacity@90 of the policies asked for, stock vLLM's first: about it the others are searched.

    Raises StageError where stock vLLM's is not found.
    """
    params = evaluation.params
    jobs = [(workload, profile) for workload in params.workloads for profile in params.profiles]
    found: Capacities = {}
    total = 2 * params.capacity_rounds * len(jobs) * len(params.capacity_policies)
    with tqdm(total=total, desc="evaluate: capacity", unit="run") as bar:

        def attainments(job: tuple[str, str], policy: str) -> Callable[[Sequence[float]], list[float]]:
            def at(rates: Sequence[float]) -> list[float]:
                futures = [submit(evaluation.cell(*job, policy, rate)) for rate in rates]
                shares = [future.result()["attainment"] for future in futures]
                bar.update(len(rates))
                return shares

            return at

        def search(job: tuple[str, str], policy: str, low: float, high: float) -> float | None:
            return capacity(attainments(job, policy), low, high, params.capacity_rounds)

        for job in jobs:
            guess = evaluation.guess_per_s
            if job[0] == MIX:
                unit = search(job, "vllm", STOCK_BOUNDS[0] * guess, STOCK_BOUNDS[1] * guess)
            else:  # what tuning found says little of other sessions
                low, high = bracket(attainments(job, "vllm"), guess)
                unit = search(job, "vllm", low, high) or low
            if unit is None:
                raise StageError(
                    f"evaluate: stock vLLM misses the SLO from {STOCK_BOUNDS[0] * guess:.1f} sessions/s on; "
                    "run `dvc repro tune` anew"
                )
            here: dict[str, float | None] = {"vllm": unit}
            for policy in params.capacity_policies:
                if policy != "vllm":
                    here[policy] = search(job, policy, OTHER_BOUNDS[0] * unit, OTHER_BOUNDS[1] * unit)
            found.setdefault(job[0], {})[job[1]] = here
    return found


def read_tuned(folder: Path) -> tuple[SchedulerSettings, float]:
    """The tuned settings, and the sessions/s that tuning found. Raises StageError or SettingsError naming the file."""
    try:
        settings = json.loads((folder / "scheduler.json").read_text(encoding="utf-8"))
        unit = float(json.loads((folder / "capacity.json").read_text(encoding="utf-8"))["sessions_per_s"])
    except OSError as error:
        raise StageError(f"{error.filename}: {error.strerror}; run `dvc repro tune`") from error
    except (ValueError, KeyError, TypeError) as error:
        raise StageError(f"{folder}: not what `tune` writes ({error}); run `dvc repro tune`") from error
    return SchedulerSettings.from_json(settings), unit


def main() -> None:
    params = load_params("evaluate", EvaluateParams)
    seed = load_params("base", BaseParams).seed + SPLIT_SEEDS["report"]
    settings, guess_per_s = read_tuned(TUNED)
    shares = load_params("prepare", PrepareParams)
    split = Split("report", shares.validation_share, shares.test_share)
    evaluation = Evaluation(params, seed, settings, guess_per_s, split)
    with workers(params.processes) as submit:
        capacity90 = capacities(evaluation, submit)
        results = compare(evaluation, capacity90, submit)
    text = table(results, capacity90)
    write_text(REPORTS / "goodput.csv", plot_rows(results))
    write_text(REPORTS / "table.md", text)
    write_json(REPORTS / "metrics.json", {**results, "capacity90": capacity90, "summary": summarize(results)})
    print(text)


if __name__ == "__main__":
    run_stage(main)
