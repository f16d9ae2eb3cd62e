"""The settings of a replay."""

from dataclasses import dataclass, field

from ....data.workload.arrivals import Arrivals, Recorded
from ....data.workload.trace_set import Split
from ....models.serving.settings import Slo
from ..endpoint import Endpoint
from .turn_request import Identity

DRAIN_S = 60.0
"""Default seconds for the window's last turns to finish. Later ones are misses."""


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    workload: str  # a built-in workload, or a folder of traces
    endpoint: Endpoint
    model: str | None  # None: the first one served
    arrivals: Arrivals | Recorded  # of an open loop
    rate_per_s: float | None  # of an open loop; None: as recorded
    duration_s: float | None  # measured, after the warm-up; None: until the last session ends
    seed: int
    split: Split | None = None
    identity: Identity = field(default_factory=Identity)
    slo: Slo = field(default_factory=Slo)
    drain_s: float = DRAIN_S
    warmup_s: float = 0.0
    agents: int | None = None  # None: open loop
    pause_cap_s: float | None = None  # of a closed loop

    @property
    def end_s(self) -> float | None:
        """The end of the measured window since the start; None: open."""
        return None if self.duration_s is None else self.warmup_s + self.duration_s

    def to_json(self, model: str) -> dict[str, object]:
        """For the report, with the served model and without the key."""
        arrivals = repr(self.arrivals) if self.agents is None else None
        return {
            "workload": self.workload,
            "url": self.endpoint.url,
            "model": model,
            "arrivals": arrivals,
            "rate_per_s": self.rate_per_s,
            "agents": self.agents,
            "pause_cap_s": self.pause_cap_s,
            "warmup_s": self.warmup_s,
            "duration_s": self.duration_s,
            "drain_s": self.drain_s,
            "seed": self.seed,
            "part": "all" if self.split is None else self.split.use,
            "session_ids": self.identity.session_ids,
            "hints": self.identity.hints,
            "slo_ttft_s": self.slo.ttft_s,
            "slo_tpot_s": self.slo.tpot_s,
        }
