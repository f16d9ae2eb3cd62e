"""The score of a trial: its goodput as a ratio to that of stock vLLM, and how far it violates each constraint."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ...data.workload.mix import MIX, MIX_SWING
from ..project.stage import StageError
from .params import TuneParams

Metrics = Mapping[str, float]
UNIT_LOAD = 1.0
SLACK = 1.1
"""Factor on the longest wait: overdue turns get a share of the tokens only, so that a few start after their limit."""


@dataclass(frozen=True, slots=True, order=True)
class Scenario:
    """The load of one simulation."""

    workload: str
    load: float  # multiple of the capacity@90 of stock vLLM
    seed: int  # within the split, from 0

    @property
    def name(self) -> str:
        return f"{self.workload}_load{self.load:g}" + (f"_seed{self.seed}" if self.seed else "")


def scenarios_of(params: TuneParams) -> list[Scenario]:
    """The scenarios of a trial in the order of `tune.loads`, which puts the most telling first; swings come last."""
    swings = [MIX_SWING] if MIX_SWING in params.workloads else []
    steady = [workload for workload in params.workloads if workload != MIX_SWING]
    planned = [(workload, load) for load in params.loads for workload in steady]
    planned += [(workload, load) for workload in swings for load in params.loads_of(workload)]
    return [Scenario(workload, load, seed) for seed in range(params.seeds) for workload, load in planned]


def stock_scenarios(params: TuneParams) -> list[Scenario]:
    """The scenarios on which stock vLLM runs: those of a trial, and load 1x."""
    planned = [
        (workload, load)
        for workload in params.workloads
        for load in sorted({*params.loads_of(workload), *([UNIT_LOAD] if workload != MIX_SWING else [])})
    ]
    return [Scenario(workload, load, seed) for workload, load in planned for seed in range(params.seeds)]


@dataclass(frozen=True, slots=True)
class Baseline:
    """Stock vLLM on the same sessions."""

    params: TuneParams
    max_wait_s: float  # the bound on waits in the settings
    stock: Mapping[Scenario, Metrics]

    def ratio(self, scenario: Scenario, metrics: Metrics) -> float:
        """Goodput over the best goodput of stock vLLM at this load or below.

        At twice its capacity stock vLLM has almost no goodput, and a ratio to that means nothing. The peaks of a swing
        are such loads, so a swing is compared with the steady mix too. Raises StageError where stock vLLM has no
        goodput at any of these loads.
        """
        goodputs = [
            stock["effective_throughput"]
            for other, stock in self.stock.items()
            if other.seed == scenario.seed
            and other.load <= scenario.load
            and other.workload in (scenario.workload, _steady(scenario))
        ]
        best = max(goodputs, default=0.0)
        if best <= 0:
            raise StageError(
                f"tune: stock vLLM has no goodput on {scenario.workload} up to load {scenario.load:g}; "
                "lengthen tune.window_s or lower tune.loads"
            )
        return metrics["effective_throughput"] / best

    def violations(self, scenario: Scenario, metrics: Metrics) -> dict[str, float]:
        """Constraint → the share by which it is missed; a value above 0 is a violation.

        The longest wait must be within `longest_wait_s` where that of stock vLLM is. Elsewhere it must be within the
        bound of the settings, or within the longest wait of stock vLLM if that is longer.
        """
        stock, params = self.stock[scenario], self.params
        limit_s = params.longest_wait_s
        if stock["longest_wait_s"] > limit_s:
            limit_s = SLACK * max(self.max_wait_s, stock["longest_wait_s"])
        return {
            "goodput": _shortfall(metrics, stock, "effective_throughput", params.min_goodput_ratio),
            "throughput": _shortfall(metrics, stock, "throughput", params.min_throughput_ratio),
            "longest_wait": metrics["longest_wait_s"] / limit_s - 1,
        }


def _steady(scenario: Scenario) -> str:
    return MIX if scenario.workload == MIX_SWING else scenario.workload


def _shortfall(metrics: Metrics, stock: Metrics, name: str, least: float) -> float:
    return least - metrics[name] / stock[name] if stock[name] > 0 else -1.0


@dataclass(slots=True)
class Score:
    """The score of some settings, over the simulations that were added so far."""

    baseline: Baseline
    ratios: dict[Scenario, float] = field(default_factory=dict)
    metrics: dict[Scenario, Metrics] = field(default_factory=dict)

    def add(self, scenario: Scenario, metrics: Metrics) -> None:
        self.metrics[scenario] = metrics
        self.ratios[scenario] = self.baseline.ratio(scenario, metrics)

    @property
    def mean(self) -> float:
        """Mean ratio over all scenarios."""
        return self.mean_over(self.ratios)

    def mean_over(self, scenarios: Collection[Scenario]) -> float:
        return sum(self.ratios[scenario] for scenario in scenarios) / len(scenarios)

    @property
    def violations(self) -> dict[str, float]:
        """The worst violation of each constraint."""
        each = [self.baseline.violations(scenario, metrics) for scenario, metrics in self.metrics.items()]
        return {name: max(violations[name] for violations in each) for name in each[0]} if each else {}

    @property
    def penalised(self) -> float:
        """The mean less each violation, which counts at most 1. Pruning and selection compare by it."""
        return self.mean - sum(min(max(value, 0.0), 1.0) for value in self.violations.values())

    @property
    def feasible(self) -> bool:
        return all(value <= 0 for value in self.violations.values())

    @property
    def longest_wait_s(self) -> float:
        return max(metrics["longest_wait_s"] for metrics in self.metrics.values())

    def flat(self) -> dict[str, float]:
        """All metrics by name and scenario, for MLflow."""
        return {
            f"{name}_{scenario.name}": value
            for scenario, metrics in self.metrics.items()
            for name, value in metrics.items()
        }
