"""What a trial is worth: its turns in time as a ratio to stock vLLM's, and how far it breaks a constraint."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ...data.workload.mix import MIX, MIX_SWING
from ..project.stage import StageError
from .params import TuneParams

Metrics = Mapping[str, float]
UNIT_LOAD = 1.0
SLACK = 1.1
"""On the longest wait: the overdue go first for a share of the tokens, so that a few come shortly after their limit."""


@dataclass(frozen=True, slots=True, order=True)
class Job:
    """One simulation of a trial."""

    workload: str
    load: float  # multiple of stock vLLM's capacity@90
    seed: int  # of the split, from 0

    @property
    def name(self) -> str:
        return f"{self.workload}_load{self.load:g}" + (f"_seed{self.seed}" if self.seed else "")


def jobs_of(params: TuneParams) -> list[Job]:
    """A trial's simulations, in the order of `tune.loads`: what tells most comes first, and swings last."""
    swings = [MIX_SWING] if MIX_SWING in params.workloads else []
    steady = [workload for workload in params.workloads if workload != MIX_SWING]
    planned = [(workload, load) for load in params.loads for workload in steady]
    planned += [(workload, load) for workload in swings for load in params.loads_of(workload)]
    return [Job(workload, load, seed) for seed in range(params.seeds) for workload, load in planned]


def stock_jobs(params: TuneParams) -> list[Job]:
    """The simulations of stock vLLM that a trial's are compared with."""
    planned = [
        (workload, load)
        for workload in params.workloads
        for load in sorted({*params.loads_of(workload), *([UNIT_LOAD] if workload != MIX_SWING else [])})
    ]
    return [Job(workload, load, seed) for workload, load in planned for seed in range(params.seeds)]


@dataclass(frozen=True, slots=True)
class Yardstick:
    """Stock vLLM on the same sessions."""

    params: TuneParams
    max_wait_s: float  # what the settings promise
    stock: Mapping[Job, Metrics]

    def ratio(self, job: Job, metrics: Metrics) -> float:
        """Turns in time over those of stock vLLM at this load, or at the best load below it where it has collapsed:
        at twice its capacity stock vLLM serves hardly a turn in time, and a ratio to that says nothing. A swing, whose
        peaks are such loads, is compared with the steady mix too.

        Raises StageError where stock vLLM serves none at any of the loads.
        """
        served = [
            found["effective_throughput"]
            for known, found in self.stock.items()
            if known.seed == job.seed and known.load <= job.load and known.workload in (job.workload, _steady(job))
        ]
        unit = max(served, default=0.0)
        if unit <= 0:
            raise StageError(
                f"tune: stock vLLM serves no turn of {job.workload} in time up to load {job.load:g}; "
                "lengthen tune.window_s or lower tune.loads"
            )
        return metrics["effective_throughput"] / unit

    def violations(self, job: Job, metrics: Metrics) -> dict[str, float]:
        """By constraint, how far it is missed, as a share: above 0 is not allowed.

        The longest wait may not pass `longest_wait_s` where stock vLLM keeps it; where that does not, it may not pass
        what the settings promise, or stock vLLM's own if that is longer.
        """
        stock, params = self.stock[job], self.params
        limit_s = params.longest_wait_s
        if stock["longest_wait_s"] > limit_s:
            limit_s = SLACK * max(self.max_wait_s, stock["longest_wait_s"])
        return {
            "goodput": _shortfall(metrics, stock, "effective_throughput", params.min_goodput_ratio),
            "throughput": _shortfall(metrics, stock, "throughput", params.min_throughput_ratio),
            "longest_wait": metrics["longest_wait_s"] / limit_s - 1,
        }


def _steady(job: Job) -> str:
    return MIX if job.workload == MIX_SWING else job.workload


def _shortfall(metrics: Metrics, stock: Metrics, name: str, least: float) -> float:
    return least - metrics[name] / stock[name] if stock[name] > 0 else -1.0


@dataclass(slots=True)
class Tally:
    """What a trial's simulations have shown so far."""

    yardstick: Yardstick
    ratios: dict[Job, float] = field(default_factory=dict)
    found: dict[Job, Metrics] = field(default_factory=dict)

    def add(self, job: Job, metrics: Metrics) -> None:
        self.found[job] = metrics
        self.ratios[job] = self.yardstick.ratio(job, metrics)

    @property
    def score(self) -> float:
        """Mean ratio over loads, workloads and seeds."""
        return self.score_of(self.ratios)

    def score_of(self, jobs: Collection[Job]) -> float:
        """Mean ratio over some of the jobs."""
        return sum(self.ratios[job] for job in jobs) / len(jobs)

    @property
    def violations(self) -> dict[str, float]:
        """The worst of each constraint over the simulations."""
        each = [self.yardstick.violations(job, metrics) for job, metrics in self.found.items()]
        return {name: max(found[name] for found in each) for name in each[0]} if each else {}

    @property
    def standing(self) -> float:
        """The score less what is broken, each up to 1: by this a pruner compares."""
        return self.score - sum(min(max(value, 0.0), 1.0) for value in self.violations.values())

    @property
    def feasible(self) -> bool:
        return all(value <= 0 for value in self.violations.values())

    @property
    def longest_wait_s(self) -> float:
        return max(metrics["longest_wait_s"] for metrics in self.found.values())

    def flat(self) -> dict[str, float]:
        """All metrics by job, for MLflow."""
        return {f"{name}_{job.name}": value for job, metrics in self.found.items() for name, value in metrics.items()}
