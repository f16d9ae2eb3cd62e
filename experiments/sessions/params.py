"""Section `sessions` of params.yaml: the scenes, and the policies that run in them."""

from typing import Annotated, Self

from pydantic import BaseModel, Field, NonNegativeFloat, PositiveFloat, PositiveInt, field_validator, model_validator

from augserve.pipeline.evaluate.static_grid import StaticGrid
from augserve.pipeline.project.params import Processes, Section, known_names
from augserve.pipeline.simulator import catalogue
from augserve.pipeline.simulator.cells.schedule import Schedule

VLLM_TUNED = catalogue.tuned(catalogue.VLLM).name


class Scene(BaseModel):
    """A workload on an engine, with one or several numbers of agents."""

    model_config = Section.model_config
    workload: str
    profile: str
    agents: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    static_agents: PositiveInt
    references: tuple[str, ...] = ()
    pause_cap_s: NonNegativeFloat | None = None
    host_memory_gib: PositiveFloat | None = None
    window_s: PositiveFloat | None = None
    seeds: int | None = Field(None, ge=1, le=100)

    @field_validator("references")
    @classmethod
    def _known_references(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return known_names(names, catalogue.CATALOGUE) if names else names

    @property
    def name(self) -> str:
        """Its heading, and its key in metrics.json."""
        parts = [f"{self.workload} on {self.profile}"]
        if self.host_memory_gib is not None:
            parts.append(f"{self.host_memory_gib:g} GiB of host memory")
        if self.pause_cap_s is not None:
            parts.append(f"pauses up to {self.pause_cap_s:g} s")
        if self.window_s is not None:
            parts.append(f"window of {self.window_s:g} s")
        return ", ".join(parts)

    def as_searched(self) -> "Scene":
        """The scene in which static settings are searched: equal ones share one search. It has no host memory, with
        which a simulation takes minutes."""
        others = {"references": (), "window_s": None, "seeds": None, "host_memory_gib": None}
        return self.model_copy(update={"agents": (self.static_agents,), **others})


class SessionsParams(Section):
    SECTION = "sessions"
    scenes: tuple[Scene, ...] = Field(min_length=1)
    policies: tuple[str, ...]
    seeds: int = Field(ge=1, le=100)
    reference_seeds: int = Field(ge=1, le=100)
    static: StaticGrid
    static_window_s: PositiveFloat
    warmup_s: NonNegativeFloat
    window_s: PositiveFloat
    drain_s: NonNegativeFloat
    processes: Processes

    @field_validator("policies")
    @classmethod
    def _known_policies(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return known_names(names, catalogue.SIMULATED)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        names = [scene.name for scene in self.scenes]
        if len(set(names)) < len(names):
            raise ValueError("scenes lists a scene twice: give one of them all numbers of agents")
        if self.reference_seeds > self.seeds:
            raise ValueError("reference_seeds exceeds seeds: lower it, because ratios are over the same sessions")
        return self

    def seeds_of(self, scene: Scene, policy: str) -> int:
        """References have fewer runs than stock vLLM at its best static setting and the policies that it is for."""
        seeds = scene.seeds or self.seeds
        return seeds if policy in (VLLM_TUNED, *self.policies) else min(seeds, self.reference_seeds)

    def policies_of(self, scene: Scene) -> list[str]:
        return list(dict.fromkeys((VLLM_TUNED, *self.policies, *scene.references)))

    def schedule(self, scene: Scene) -> Schedule:
        return Schedule(self.warmup_s, self.window_s if scene.window_s is None else scene.window_s, self.drain_s)

    @property
    def static_schedule(self) -> Schedule:
        """That of the search for static settings."""
        return Schedule(self.warmup_s, self.static_window_s, self.drain_s)
