"""Section `information` of params.yaml."""

from pydantic import Field, NonNegativeFloat, PositiveFloat

from augserve.pipeline.project.params import Processes, Section
from augserve.pipeline.simulator.cells.schedule import Schedule
from augserve.pipeline.tune.params import PlannedLoad


class Row(PlannedLoad):
    """A workload on an engine. In an open loop, `load` is sessions/s."""

    window_s: PositiveFloat


class InformationParams(Section):
    SECTION = "information"
    rows: tuple[Row, ...] = Field(min_length=1)
    seeds: int = Field(ge=1, le=100)
    warmup_s: NonNegativeFloat
    agent_warmup_s: NonNegativeFloat
    drain_s: NonNegativeFloat
    pause_cap_s: NonNegativeFloat | None
    processes: Processes

    def schedule(self, row: Row) -> Schedule:
        warmup_s = self.warmup_s if row.agents is None else self.agent_warmup_s
        return Schedule(warmup_s, row.window_s, self.drain_s)
