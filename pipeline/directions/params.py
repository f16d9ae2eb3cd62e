"""Section `directions` of params.yaml."""

import math
from dataclasses import dataclass

from ..project.params import require


@dataclass(frozen=True, slots=True)
class DirectionsParams:
    profile: str
    kv_tokens: tuple[int, ...]
    loads: tuple[float, ...]
    sessions: int
    seeds: int
    processes: int

    def __post_init__(self) -> None:
        def check(holds: bool, key: str, rule: str) -> None:
            require(holds, f"directions.{key}", getattr(self, key), rule)

        check(bool(self.kv_tokens) and min(self.kv_tokens) >= 8192, "kv_tokens", "a list of numbers of 8192 or more")
        check(bool(self.loads) and all(0 < load < math.inf for load in self.loads), "loads", "positive numbers")
        check(self.sessions >= 10, "sessions", "10 or more")
        check(1 <= self.seeds <= 100, "seeds", "from 1 to 100")
        check(1 <= self.processes <= 256, "processes", "from 1 to 256")
