"""Policies compared: every cell of workloads x profiles x loads x policies, and each policy's capacity@90."""

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from tqdm import tqdm

from ..data.atomic import write_json, write_text
from ..data.mix import MIX
from ..data.trace_set import Split
from ..models.settings import SchedulerSettings
from .params import require
from .simulator.capacity import bracket, capacity
from .simulator.cell import Cell, Schedule, workload_names
from .simulator.parallel import Submit
from .simulator.policies import POLICIES
from .simulator.report import Capacities, Metrics, Results, plot_rows, summarize, table
from .stage import StageError
from .tracking import experiment_run

MODELS = Path("models/onnx")
PROFILES = Path("data/profiles")
CELLS = Path("data/cells")
"""Results of cells by what they depend on; see simulator/cell_cache.py."""
VLLM_TUNED = "vllm-tuned"
"""Stock vLLM's best static configuration, another one for each workload and profile; see static_search.py."""

STOCK_BOUNDS = (0.5, 1.5)
"""Where stock vLLM's capacity@90 is searched, multiples of what `tune` found on its own sessions."""
OTHER_BOUNDS = (0.8, 2.0)
"""Where the other policies' is, multiples of stock vLLM's."""


@dataclass(frozen=True, slots=True)
class ComparisonParams:
    """What a section of params.yaml says that compares policies; it is named by the subclass."""

    SECTION: ClassVar[str]

    workloads: tuple[str, ...]
    profiles: tuple[str, ...]
    policies: tuple[str, ...]
    loads: tuple[float, ...]
    capacity_policies: tuple[str, ...]
    capacity_rounds: int
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
        self._require_known("capacity_policies", POLICIES)
        rule = "a list with vllm, whose capacity is load 1x"
        self._require("vllm" in self.capacity_policies, "capacity_policies", rule)
        self._require(bool(self.profiles), "profiles", "a list of profiles")
        self._require(bool(self.loads) and min(self.loads) > 0, "loads", "a list of positive numbers")
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
        self._require(bool(values) and set(values) <= set(known), key, f"a list of some of {', '.join(known)}")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What all cells share."""

    params: ComparisonParams
    seed: int
    settings: SchedulerSettings
    guess_per_s: float  # about where stock vLLM's capacity@90 lies, sessions/s
    split: Split | None = None  # the sessions of traces that may serve; needed where a workload is traces
    static: Mapping[tuple[str, str], str] = field(default_factory=dict)  # VLLM_TUNED by workload and profile

    def cell(self, workload: str, profile: str, policy: str, rate_per_s: float) -> Cell:
        params = self.params
        if workload == MIX:
            schedule = Schedule(params.warmup_s, params.window_s, params.drain_s)
        else:  # recorded sessions are few, long, and begin with a cold cache
            schedule = Schedule(params.trace_warmup_s, params.trace_window_s, params.drain_s)
        path = PROFILES / f"{profile}.json"
        if policy == VLLM_TUNED:
            policy = self.static[workload, profile]
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
    for future in tqdm(as_completed(futures), total=len(futures), desc=params.SECTION, unit="cell"):
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
    with tqdm(total=total, desc=f"{params.SECTION}: capacity", unit="run") as bar:

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
                    f"{params.SECTION}: stock vLLM misses the SLO from {STOCK_BOUNDS[0] * guess:.1f} sessions/s on; "
                    "run `dvc repro tune` anew"
                )
            here: dict[str, float | None] = {"vllm": unit}
            for policy in params.capacity_policies:
                if policy != "vllm":
                    here[policy] = search(job, policy, OTHER_BOUNDS[0] * unit, OTHER_BOUNDS[1] * unit)
            found.setdefault(job[0], {})[job[1]] = here
    return found


def write_report(folder: Path, results: Results, capacity90: Capacities, static: Mapping[tuple[str, str], str]) -> str:
    """Metrics, table and plot rows into `folder`, and what `vllm-tuned` was; gives the table."""
    text = table(results, capacity90)
    for (workload, profile), name in static.items():
        text += f"\n{VLLM_TUNED} on {workload} and {profile} is {name} (budget x sequences).\n"
    write_text(folder / "goodput.csv", plot_rows(results))
    write_text(folder / "table.md", text)
    write_json(folder / "metrics.json", {**results, "capacity90": capacity90, "summary": summarize(results)})
    return text
