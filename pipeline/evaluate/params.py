"""Sections of params.yaml that compare policies: which policies run on which workload, at which loads."""

from typing import Self

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ...data.workload.built_in import SEQUENCES
from ...data.workload.mix import MIX, MIX_SWING
from ...data.workload.schedule import MIXES
from ..project import paths
from ..project.params import Processes, SearchRounds, Section, known_names
from ..project.public_sets import load_public_sets
from ..simulator import catalogue
from ..simulator.cells.cell import workload_names
from ..simulator.cells.schedule import Schedule
from .static_grid import StaticGrid

ABLATIONS = tuple(name for name, policy in catalogue.CATALOGUE.items() if policy.ablates)
ORACLES = tuple(policy.name for policy in catalogue.ORACLES)


class ComparisonParams(Section):
    """A subclass names its section."""

    workloads: tuple[str, ...]
    profiles: tuple[str, ...] = Field(min_length=1)
    policies: tuple[str, ...]
    ablations: tuple[str, ...]
    oracles: tuple[str, ...]
    loads: tuple[PositiveFloat, ...] = Field(min_length=1)
    target_loads: tuple[PositiveFloat, ...]
    target_policies: tuple[str, ...]
    swing_load: PositiveFloat
    swing_policies: tuple[str, ...]
    swing_window_s: PositiveFloat
    seeds: int = Field(ge=1, le=100)
    capacity_policies: tuple[str, ...]
    capacity_rounds: SearchRounds
    capacity_within: float = Field(ge=0.001, le=1)
    static: StaticGrid
    static_loads: tuple[PositiveFloat, ...] = Field(min_length=1)
    static_agents: PositiveInt
    static_agent_window_s: PositiveFloat
    warmup_s: NonNegativeFloat
    window_s: PositiveFloat
    drain_s: NonNegativeFloat
    trace_warmup_s: NonNegativeFloat
    trace_window_s: PositiveFloat
    agent_workloads: tuple[str, ...]
    agents: tuple[PositiveInt, ...] = Field(min_length=1)
    agent_policies: tuple[str, ...]
    agent_seeds: int = Field(ge=1, le=100)
    agent_warmup_s: NonNegativeFloat
    agent_window_s: PositiveFloat
    agent_drain_s: NonNegativeFloat
    pause_cap_s: NonNegativeFloat | None
    processes: Processes

    @field_validator("workloads")
    @classmethod
    def _known_workloads(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return known_names(names, workload_names())

    @field_validator("policies", "capacity_policies")
    @classmethod
    def _known_policies(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if "vllm" not in known_names(names, catalogue.CATALOGUE):
            raise ValueError("a list with vllm, the base of every comparison")
        return names

    @field_validator("ablations", "oracles", "target_policies", "swing_policies")
    @classmethod
    def _known_others(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        known = {"ablations": ABLATIONS, "oracles": ORACLES}.get(info.field_name or "", catalogue.CATALOGUE)
        return known_names(names, known) if names else names

    @field_validator("agent_workloads")
    @classmethod
    def _known_agent_workloads(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """A public set is known even if it is not here: `present_agent_workloads` leaves it out."""
        known = [*SEQUENCES, *workload_names()]
        if set(names) - set(known):
            known += (f"{paths.PUBLIC_TRACES.name}/{name}" for name in load_public_sets())
        if not set(known_names(names, dict.fromkeys(known))) & set(SEQUENCES):
            raise ValueError(f"a list with one of {', '.join(SEQUENCES)}, which need no traces")
        return names

    @field_validator("agent_policies")
    @classmethod
    def _known_agent_policies(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if catalogue.VLLM.name not in known_names(names, catalogue.CATALOGUE):
            raise ValueError("a list with vllm, the base of every comparison")
        return names

    @model_validator(mode="after")
    def _lists_are_complete(self) -> Self:
        if self.target_loads and not self.target_policies:
            raise ValueError("target_policies is empty: list the policies that run at target_loads")
        if MIX_SWING in self.workloads and "vllm" not in self.swing_policies:
            raise ValueError(f"swing_policies must list vllm where {MIX_SWING} is a workload")
        return self

    def loads_of(self, workload: str) -> tuple[float, ...]:
        """The loads of a workload, each once. A swing has its mean load only."""
        if workload == MIX_SWING:
            return (self.swing_load,)
        return tuple(dict.fromkeys((*self.loads, *self.target_loads)))

    def main_load(self, workload: str) -> float:
        """The load of ablations, and of the search for the static budget."""
        return self.swing_load if workload == MIX_SWING else max(self.loads)

    def policies_of(self, workload: str) -> list[str]:
        """All policies of an open loop."""
        at = [name for load in self.loads_of(workload) for name in self.policies_at(workload, load)]
        return list(dict.fromkeys((*at, *self.capacity_policies)))

    def policies_at(self, workload: str, load: float) -> tuple[str, ...]:
        """Ablations and oracles run at the highest load only, `target_policies` alone at `target_loads`."""
        if workload == MIX_SWING:
            return self.swing_policies
        if load not in self.loads:
            return self.target_policies
        more = (*self.oracles, *self.ablations) if load == self.main_load(workload) else ()
        return tuple(dict.fromkeys((*self.policies, *more)))

    def schedule(self, workload: str) -> Schedule:
        """The schedule of a simulation. Recorded sessions are few and long, and start with a cold cache."""
        if workload not in MIXES:
            return Schedule(self.trace_warmup_s, self.trace_window_s, self.drain_s)
        return Schedule(self.warmup_s, self.swing_window_s if workload == MIX_SWING else self.window_s, self.drain_s)

    @property
    def agent_schedule(self) -> Schedule:
        """The schedule of a closed loop."""
        return Schedule(self.agent_warmup_s, self.agent_window_s, self.agent_drain_s)

    @property
    def present_agent_workloads(self) -> list[str]:
        """Without public sets that are not here."""
        here = (*SEQUENCES, *workload_names())
        return [name for name in self.agent_workloads if name in here]


def steady(workload: str) -> str:
    """The workload whose capacity is load 1x: for a swing the steady mix."""
    return MIX if workload in MIXES else workload
