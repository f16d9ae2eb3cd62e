"""What a section of params.yaml says that compares policies: which of them run on which workload, at which loads."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from ...data.workload.mix import MIX, MIX_SWING
from ...data.workload.schedule import MIXES
from ..project.params import require
from ..simulator import catalogue
from ..simulator.cells.cell import Schedule, workload_names

STATIC_BUDGET = catalogue.STATIC_BUDGET.name
VLLM_TUNED = catalogue.VLLM_TUNED.name
"""Stock vLLM's best static configuration, another one for each workload and profile; see static_search.py."""
NARROWING_RUNS = 2
"""That a policy's capacity takes beyond its cells, about: where a line between two of them says, and beside that."""
VARIANTS = tuple(policy.name for policy in catalogue.ABLATIONS)
"""AugServe without one of its parts, or with another in its place."""


@dataclass(frozen=True, slots=True)
class ComparisonParams:
    """The section is named by the subclass."""

    SECTION: ClassVar[str]

    workloads: tuple[str, ...]
    profiles: tuple[str, ...]
    policies: tuple[str, ...]
    ablations: tuple[str, ...]
    oracles: tuple[str, ...]
    loads: tuple[float, ...]
    target_loads: tuple[float, ...]
    target_policies: tuple[str, ...]
    swing_load: float
    swing_policies: tuple[str, ...]
    swing_window_s: float
    seeds: int
    capacity_policies: tuple[str, ...]
    capacity_rounds: int
    capacity_within: float
    static_loads: tuple[float, ...]
    static_budgets: tuple[int, ...]
    warmup_s: float
    window_s: float
    drain_s: float
    trace_warmup_s: float
    trace_window_s: float
    processes: int

    def __post_init__(self) -> None:
        self._require_known("workloads", workload_names())
        self._require_known("policies", catalogue.CATALOGUE)
        self._require("vllm" in self.policies, "policies", "a list with vllm, the yardstick")
        if self.ablations:
            self._require_known("ablations", VARIANTS)
        if self.oracles:
            self._require_known("oracles", [policy.name for policy in catalogue.ORACLES])
        self._require_known("capacity_policies", catalogue.CATALOGUE)
        rule = "a list with vllm, whose capacity is load 1x"
        self._require("vllm" in self.capacity_policies, "capacity_policies", rule)
        self._require(bool(self.profiles), "profiles", "a list of profiles")
        if self.target_loads:
            self._require(min(self.target_loads) > 0, "target_loads", "a list of positive numbers")
            self._require_known("target_policies", catalogue.CATALOGUE)
        if MIX_SWING in self.workloads:
            self._require_known("swing_policies", catalogue.CATALOGUE)
            self._require("vllm" in self.swing_policies, "swing_policies", "a list with vllm, the yardstick")
        for key in ("swing_load", "swing_window_s"):
            self._require(getattr(self, key) > 0, key, "positive")
        for key in ("loads", "static_loads"):
            values = getattr(self, key)
            self._require(bool(values) and min(values) > 0, key, "a list of positive numbers")
        positive = all(budget > 0 for budget in self.static_budgets)
        rule = f"a list of positive whole numbers, some where {STATIC_BUDGET} runs"
        self._require(positive and bool(self.static_budgets or not self.budgeted), "static_budgets", rule)
        self._require(1 <= self.seeds <= 100, "seeds", "from 1 to 100")
        self._require(1 <= self.capacity_rounds <= 12, "capacity_rounds", "from 1 to 12")
        self._require(0.001 <= self.capacity_within <= 1, "capacity_within", "from 0.001 to 1")
        self._require(self.warmup_s >= 0, "warmup_s", "0 or more")
        self._require(self.window_s > 0, "window_s", "positive")
        self._require(self.drain_s >= 0, "drain_s", "0 or more")
        self._require(self.trace_warmup_s >= 0, "trace_warmup_s", "0 or more")
        self._require(self.trace_window_s > 0, "trace_window_s", "positive")
        self._require(1 <= self.processes <= 256, "processes", "from 1 to 256")

    def loads_of(self, workload: str) -> tuple[float, ...]:
        """The loads that a workload runs at, each once; a swing has a mean load of its own."""
        if workload == MIX_SWING:
            return (self.swing_load,)
        return tuple(dict.fromkeys((*self.loads, *self.target_loads)))

    def main_load(self, workload: str) -> float:
        """At which ablations run, and so the budgets that are tried for them."""
        return self.swing_load if workload == MIX_SWING else max(self.loads)

    @property
    def budgeted(self) -> list[str]:
        """The workloads that AugServe runs on with a static budget, of which the best is searched."""
        return [name for name in self.workloads if STATIC_BUDGET in self.policies_at(name, self.main_load(name))]

    def policies_at(self, workload: str, load: float) -> tuple[str, ...]:
        """Ablations and oracles run at the highest load alone, where most is to be lost and gained, and few policies at
        `target_loads`."""
        if workload == MIX_SWING:
            return self.swing_policies
        if load not in self.loads:
            return self.target_policies
        more = (*self.oracles, *self.ablations) if load == self.main_load(workload) else ()
        return tuple(dict.fromkeys((*self.policies, *more)))

    def schedule(self, workload: str) -> Schedule:
        """Of a simulation; recorded sessions are few, long, and begin with a cold cache."""
        if workload not in MIXES:
            return Schedule(self.trace_warmup_s, self.trace_window_s, self.drain_s)
        return Schedule(self.warmup_s, self.swing_window_s if workload == MIX_SWING else self.window_s, self.drain_s)

    def _require(self, holds: bool, key: str, rule: str) -> None:
        require(holds, f"{self.SECTION}.{key}", getattr(self, key), rule)

    def _require_known(self, key: str, known: Collection[str]) -> None:
        values = getattr(self, key)
        if unknown := sorted(set(values) - set(known)):
            self._require(False, key, f"a list without {unknown[0]!r}, which is unknown; known are {', '.join(known)}")
        self._require(bool(values), key, f"a list of some of {', '.join(known)}")


def planned_runs(params: ComparisonParams, static_runs: int) -> int:
    """How many simulations a comparison asks for, about: what a search takes is known where it ends."""
    searched = [policy for policy in params.capacity_policies if policy != "vllm"]
    cells = sum(len(params.policies_at(name, load)) for name in params.workloads for load in params.loads_of(name))
    capacities = (2 * params.capacity_rounds + NARROWING_RUNS * len(searched)) * params.seeds
    static = static_runs if VLLM_TUNED in (*params.policies, *params.capacity_policies) else 0
    budgets = len(params.static_budgets) * len(params.budgeted)
    searches = len({steady(name) for name in params.workloads}) * (capacities + static)
    return len(params.profiles) * (cells * params.seeds + searches + budgets)


def steady(workload: str) -> str:
    """The workload in multiples of whose capacity the loads of one are given."""
    return MIX if workload in MIXES else workload
