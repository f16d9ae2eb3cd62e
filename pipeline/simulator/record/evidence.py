"""The evidence of a cell: its metrics, its turns by session for intervals and distributions, and its token budget and
KV usage over time. All values are plain lists, for other processes and JSON files."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from ..errors import SimulationError


@dataclass(frozen=True, slots=True)
class Evidence:
    """Three groups of parallel lists: sessions, turns that arrived in the window, and bins of time."""

    metrics: dict[str, float]
    window_s: float
    sessions: list[str]  # with a turn in the window, or ended in it
    kinds: list[str]  # of the sessions
    sessions_in_time: list[int]  # 1: the session ended in the window, and all its turns met the SLO
    turn_sessions: list[int]  # index into `sessions`
    ttft_s: list[float]  # without a first token: the wait until the end of the simulation
    in_time: list[int]  # 1: the turn met the SLO
    bins_s: list[float]  # starts of the bins with at least one step, virtual seconds
    token_budget: list[float]  # means over the steps of a bin
    kv_usage: list[float]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raises SimulationError for another form."""
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(value, Mapping) or set(value) != names:
            raise SimulationError("cell: the result has another form; simulate the cell again")
        return cls(**value)
