"""What section `tune` of params.yaml says; `tune_long` stands in for some of it in a search of hours."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

from ...data.workload.mix import MIX, MIX_SWING
from ...data.workload.schedule import MIXES
from ..project.params import load_params, require
from ..simulator.cells.cell import Schedule, workload_names


@dataclass(frozen=True, slots=True)
class TuneParams:
    profile: str
    workloads: tuple[str, ...]
    select_workloads: tuple[str, ...]
    loads: tuple[float, ...]
    swing_load: float
    seeds: int
    trials: int
    timeout_s: float
    candidates: int
    reduction: int
    min_goodput_ratio: float
    min_throughput_ratio: float
    longest_wait_s: float
    capacity_low: float
    capacity_high: float
    capacity_rounds: int
    short_warmup_s: float
    short_window_s: float
    warmup_s: float
    window_s: float
    swing_window_s: float
    trace_warmup_s: float
    trace_window_s: float
    drain_s: float
    processes: int
    storage: str
    starts: tuple[dict[str, Any], ...]
    space: dict[str, Any]

    def __post_init__(self) -> None:
        known = workload_names()
        rule = f"a list of some of {', '.join(known)}"
        for name in ("workloads", "select_workloads"):
            named = getattr(self, name)
            require(bool(named) and set(named) <= set(known), f"tune.{name}", named, rule)
            rule_of_swing = f"a list with {MIX} wherever {MIX_SWING} is: its loads are multiples of that one's capacity"
            require(MIX_SWING not in named or MIX in self.workloads, f"tune.{name}", named, rule_of_swing)
        require(bool(self.loads) and min(self.loads) > 0, "tune.loads", self.loads, "a list of positive numbers")
        low, high = self.capacity_low, self.capacity_high
        require(0 < low < high, "tune.capacity_low", low, "positive and below tune.capacity_high")
        require(1 <= self.capacity_rounds <= 12, "tune.capacity_rounds", self.capacity_rounds, "from 1 to 12")
        require(1 <= self.processes <= 256, "tune.processes", self.processes, "from 1 to 256")
        require(2 <= self.reduction <= 16, "tune.reduction", self.reduction, "from 2 to 16")
        for name in ("seeds", "trials", "candidates"):
            require(getattr(self, name) >= 1, f"tune.{name}", getattr(self, name), "1 or more")
        for name in (
            "timeout_s",
            "swing_load",
            "longest_wait_s",
            "short_window_s",
            "window_s",
            "swing_window_s",
            "trace_window_s",
        ):
            require(getattr(self, name) > 0, f"tune.{name}", getattr(self, name), "positive")
        for name in ("short_warmup_s", "warmup_s", "trace_warmup_s", "drain_s"):
            require(getattr(self, name) >= 0, f"tune.{name}", getattr(self, name), "0 or more")
        for name in ("min_goodput_ratio", "min_throughput_ratio"):
            require(0 <= getattr(self, name) <= 1, f"tune.{name}", getattr(self, name), "from 0 to 1")

    def loads_of(self, workload: str) -> tuple[float, ...]:
        """A swing has a mean load of its own."""
        return (self.swing_load,) if workload == MIX_SWING else self.loads

    def selecting(self) -> Self:
        """The same for judging the best few: on the workloads for that."""
        return dataclasses.replace(self, workloads=self.select_workloads)

    def schedule(self, workload: str, short: bool = False) -> Schedule:
        """Of a simulation; recorded sessions are few, long, and begin with a cold cache."""
        if workload not in MIXES:
            warmup_s, window_s = self.trace_warmup_s, self.trace_window_s
        else:
            warmup_s, window_s = self.warmup_s, self.swing_window_s if workload == MIX_SWING else self.window_s
        if short:
            return Schedule(min(self.short_warmup_s, warmup_s), min(self.short_window_s, window_s), self.drain_s)
        return Schedule(warmup_s, window_s, self.drain_s)


def load_tune_params(long: bool = False) -> TuneParams:
    return load_params("tune", TuneParams, overrides="tune_long" if long else None)
