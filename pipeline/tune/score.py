"""The score of a trial: its goodput as a ratio to that of the best rival, and how far it violates each constraint."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ..project.stage import StageError
from ..results.metrics_file import closed_loop, open_loop
from ..results.tuning import LEAST_RATIO, geometric_mean
from ..simulator.catalogue import VLLM

Metrics = Mapping[str, float]
SLACK = 1.1
"""Factor on the longest wait: overdue turns get a share of the tokens only, so that a few start after their limit."""
ADMISSION_SLACK = 2.0
"""The same in closed loops, where most admissions of sessions go by size, and a share to the longest wait."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """The load of one simulation."""

    workload: str
    profile: str
    load: float | None  # open loop: multiple of the capacity@90 of stock vLLM
    agents: int | None  # closed loop
    seed: int  # within the split, from 0

    @property
    def load_name(self) -> str:
        """As in the results of an evaluation."""
        return open_loop(self.load) if self.load is not None else closed_loop(self.agents or 0)

    @property
    def load_alone(self) -> "Scenario":
        """The same for each seed of a load."""
        return replace(self, seed=0)

    @property
    def name(self) -> str:
        kind = "load" if self.agents is None else "agents"
        name = f"{self.workload}_{self.profile}_{kind}{self.load_name.removesuffix('x')}"
        return name + (f"_seed{self.seed}" if self.seed else "")


@dataclass(frozen=True, slots=True)
class Limits:
    """The constraints of a trial."""

    min_goodput_ratio: float  # to stock vLLM
    min_throughput_ratio: float  # to stock vLLM
    longest_wait_s: float  # where stock vLLM keeps it
    max_wait_s: float  # the bound on waits in the settings


@dataclass(frozen=True, slots=True)
class Baseline:
    """The rivals on the same sessions."""

    limits: Limits
    rivals: Mapping[Scenario, Mapping[str, Metrics]]  # stock vLLM among them

    def ratio(self, scenario: Scenario, metrics: Metrics) -> float:
        """Goodput over that of the best rival. Raises StageError where no rival has any."""
        best = max(rival["effective_throughput"] for rival in self.rivals[scenario].values())
        if best <= 0:
            raise StageError(
                f"tune: no rival has goodput in {scenario.name}; lengthen the window, lower the load, or add a rival"
            )
        return metrics["effective_throughput"] / best

    def violations(self, seeds: Mapping[Scenario, Metrics]) -> dict[str, float]:
        """Constraint → the share by which a load misses it; a value above 0 is a violation. `seeds`: those of the load.

        Goodput and throughput must be kept on every seed. The longest wait is that of a single turn, so that the
        longest of all seeds is compared. It must be within `longest_wait_s` where that of stock vLLM is. Elsewhere it
        must be within the bound of the settings, or within the longest wait of a rival if that is longer.
        """
        limits = self.limits
        pairs = [(metrics, self.rivals[scenario][VLLM.name]) for scenario, metrics in seeds.items()]
        longest_s = max(metrics["longest_wait_s"] for metrics, _ in pairs)
        return {
            "goodput": max(_shortfall(*pair, "effective_throughput", limits.min_goodput_ratio) for pair in pairs),
            "throughput": max(_shortfall(*pair, "throughput", limits.min_throughput_ratio) for pair in pairs),
            "longest_wait": longest_s / self._longest_wait_s(seeds) - 1,
        }

    def _longest_wait_s(self, seeds: Collection[Scenario]) -> float:
        limits, rivals = self.limits, [self.rivals[scenario] for scenario in seeds]
        if max(by_policy[VLLM.name]["longest_wait_s"] for by_policy in rivals) <= limits.longest_wait_s:
            return limits.longest_wait_s
        waits_s = [metrics["longest_wait_s"] for by_policy in rivals for metrics in by_policy.values()]
        closed = any(scenario.agents is not None for scenario in seeds)
        return (ADMISSION_SLACK if closed else SLACK) * max(limits.max_wait_s, *waits_s)


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
        """Geometric mean of the ratios: twice as good in one scenario makes up for half as good in another."""
        return geometric_mean(list(self.ratios.values()))

    @property
    def by_load(self) -> dict[str, float]:
        """Ratio at each load: the geometric mean of its seeds."""
        return {load.name: geometric_mean([self.ratios[seed] for seed in seeds]) for load, seeds in self._loads.items()}

    def exceeds(self, other: "Score") -> bool:
        """Whether the mean is above that of another score by more than one standard error, over the loads that both
        have. The ratios of one load are a pair; so a load that is good for both adds no noise."""
        own, others = self.by_load, other.by_load
        gains = np.log([max(own[load], LEAST_RATIO) / max(others[load], LEAST_RATIO) for load in own])
        error = gains.std(ddof=1) / math.sqrt(gains.size) if gains.size > 1 else 0.0
        return bool(gains.mean() > error)

    @property
    def violations(self) -> dict[str, float]:
        """The worst violation of each constraint."""
        each = [self.baseline.violations(seeds) for seeds in self._loads.values()]
        return {name: max(violations[name] for violations in each) for name in each[0]} if each else {}

    @property
    def _loads(self) -> dict[Scenario, dict[Scenario, Metrics]]:
        loads: dict[Scenario, dict[Scenario, Metrics]] = {}
        for scenario, metrics in self.metrics.items():
            loads.setdefault(scenario.load_alone, {})[scenario] = metrics
        return loads

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
