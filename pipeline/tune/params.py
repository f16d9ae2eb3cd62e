"""Section `tune` of params.yaml; `tune_long` replaces some of its keys in a search of hours."""

from typing import Any, Self

from pydantic import (
    BaseModel,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from ...data.workload.built_in import SEQUENCES
from ...data.workload.mix import MIX, MIX_SWING
from ...data.workload.schedule import MIXES
from ..project.params import Processes, SearchRounds, Section, Share, known_names, load_params
from ..simulator import catalogue
from ..simulator.catalogue import VLLM
from ..simulator.cells.cell import workload_names
from ..simulator.cells.schedule import Schedule
from ..simulator.errors import SimulationError
from .score import Scenario


class PlannedLoad(BaseModel):
    """A workload on an engine: an open loop at a multiple of stock vLLM's capacity@90, or a closed one with agents."""

    model_config = Section.model_config
    workload: str
    profile: str
    load: PositiveFloat | None = None
    agents: PositiveInt | None = None

    @model_validator(mode="after")
    def _is_open_or_closed(self) -> Self:
        if (self.load is None) == (self.agents is None):
            raise ValueError("load and agents: give one of them")
        return self


class TuneParams(Section):
    SECTION = "tune"
    profile: str
    scenarios: tuple[PlannedLoad, ...] = Field(min_length=1)
    open_rivals: tuple[str, ...]
    closed_rivals: tuple[str, ...]
    seeds: PositiveInt
    trials: PositiveInt
    timeout_s: PositiveFloat
    screened: PositiveInt
    finalists: PositiveInt
    candidates: PositiveInt
    selection_seeds: PositiveInt
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
    short_agent_warmup_s: NonNegativeFloat
    short_agent_window_s: PositiveFloat
    agent_warmup_s: NonNegativeFloat
    agent_window_s: PositiveFloat
    agent_drain_s: NonNegativeFloat
    pause_cap_s: NonNegativeFloat | None
    processes: Processes
    storage: str
    space: dict[str, Any]

    @field_validator("scenarios")
    @classmethod
    def _known_workloads(cls, scenarios: tuple[PlannedLoad, ...]) -> tuple[PlannedLoad, ...]:
        known_names(tuple(each.workload for each in scenarios), dict.fromkeys([*SEQUENCES, *workload_names()]))
        return scenarios

    @field_validator("open_rivals", "closed_rivals")
    @classmethod
    def _known_rivals(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            try:
                catalogue.find(name)
            except SimulationError as error:
                raise ValueError(f"a list of policies: {error}") from error
        if VLLM.name not in names:
            raise ValueError("a list with vllm, the base of the constraints")
        return names

    @model_validator(mode="after")
    def _capacity_can_be_searched(self) -> Self:
        planned = [(each.workload, each.profile) for each in self.scenarios if each.load is not None]
        for workload, profile in planned:
            if workload == MIX_SWING and (MIX, profile) not in planned:
                raise ValueError(f"scenarios must list a load of {MIX} on {profile}: it is the unit of a swing's load")
        if self.capacity_low >= self.capacity_high:
            raise ValueError(f"capacity_low is {self.capacity_low}: it must be below capacity_high")
        return self

    def planned(self) -> list[Scenario]:
        """The simulations of a trial, seed by seed in the declared order, which puts the most telling first."""
        return [
            Scenario(each.workload, each.profile, each.load, each.agents, seed)
            for seed in range(self.seeds)
            for each in self.scenarios
        ]

    def rivals_of(self, scenario: Scenario) -> tuple[str, ...]:
        return self.open_rivals if scenario.agents is None else self.closed_rivals

    def schedule(self, scenario: Scenario, short: bool = False) -> Schedule:
        """The schedule of a simulation. Recorded sessions are few and long, and start with a cold cache."""
        if scenario.agents is not None:
            if short:
                return Schedule(self.short_agent_warmup_s, self.short_agent_window_s, self.agent_drain_s)
            return Schedule(self.agent_warmup_s, self.agent_window_s, self.agent_drain_s)
        if scenario.workload not in MIXES:
            return Schedule(self.trace_warmup_s, self.trace_window_s, self.drain_s)
        if short:
            return Schedule(self.short_warmup_s, self.short_window_s, self.drain_s)
        window_s = self.swing_window_s if scenario.workload == MIX_SWING else self.window_s
        return Schedule(self.warmup_s, window_s, self.drain_s)


def load_tune_params(long: bool = False) -> TuneParams:
    return load_params(TuneParams, overrides="tune_long" if long else None)
