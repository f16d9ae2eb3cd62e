"""Section `tune` of params.yaml; `tune_long` replaces some of its keys in a search of hours."""

from typing import Any, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, field_validator, model_validator

from ...data.workload.mix import MIX, MIX_SWING
from ...data.workload.schedule import MIXES
from ..project.params import Processes, SearchRounds, Section, Share, known_names, load_params
from ..simulator.cells.cell import workload_names
from ..simulator.cells.schedule import Schedule


class TuneParams(Section):
    SECTION = "tune"
    profile: str
    workloads: tuple[str, ...]
    select_workloads: tuple[str, ...]
    loads: tuple[PositiveFloat, ...] = Field(min_length=1)
    swing_load: PositiveFloat
    seeds: PositiveInt
    trials: PositiveInt
    timeout_s: PositiveFloat
    candidates: PositiveInt
    reduction: int = Field(ge=2, le=16)
    min_goodput_ratio: Share
    min_throughput_ratio: Share
    longest_wait_s: PositiveFloat
    capacity_low: PositiveFloat
    capacity_high: PositiveFloat
    capacity_rounds: SearchRounds
    short_warmup_s: NonNegativeFloat
    short_window_s: PositiveFloat
    warmup_s: NonNegativeFloat
    window_s: PositiveFloat
    swing_window_s: PositiveFloat
    trace_warmup_s: NonNegativeFloat
    trace_window_s: PositiveFloat
    drain_s: NonNegativeFloat
    processes: Processes
    storage: str
    starts: tuple[dict[str, Any], ...]
    space: dict[str, Any]

    @field_validator("workloads", "select_workloads")
    @classmethod
    def _known_workloads(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return known_names(names, workload_names())

    @model_validator(mode="after")
    def _capacity_can_be_searched(self) -> Self:
        if MIX_SWING in (*self.workloads, *self.select_workloads) and MIX not in self.workloads:
            raise ValueError(f"workloads must list {MIX}: the loads of {MIX_SWING} are multiples of its capacity")
        if self.capacity_low >= self.capacity_high:
            raise ValueError(f"capacity_low is {self.capacity_low}: it must be below capacity_high")
        return self

    def loads_of(self, workload: str) -> tuple[float, ...]:
        """A swing has its mean load only."""
        return (self.swing_load,) if workload == MIX_SWING else self.loads

    def selecting(self) -> Self:
        """The parameters of the selection, which has workloads of its own."""
        return self.changed(workloads=self.select_workloads)

    def schedule(self, workload: str, short: bool = False) -> Schedule:
        """The schedule of a simulation. Recorded sessions are few and long, and start with a cold cache."""
        if workload not in MIXES:
            warmup_s, window_s = self.trace_warmup_s, self.trace_window_s
        else:
            warmup_s, window_s = self.warmup_s, self.swing_window_s if workload == MIX_SWING else self.window_s
        if short:
            return Schedule(min(self.short_warmup_s, warmup_s), min(self.short_window_s, window_s), self.drain_s)
        return Schedule(warmup_s, window_s, self.drain_s)


def load_tune_params(long: bool = False) -> TuneParams:
    return load_params(TuneParams, overrides="tune_long" if long else None)
