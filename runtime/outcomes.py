"""How many turns meet the SLO, and when their first tokens come, by the bundle that forecast them."""

from collections.abc import Callable
from dataclasses import dataclass

from ..models.serving.settings import Slo
from .metrics import Metrics
from .sessions.live_turn import FINISHED, LiveTurn


@dataclass(frozen=True, slots=True)
class Outcomes:
    slo: Slo
    metrics: Metrics
    clock: Callable[[], float]

    def turn_ended(self, live: LiveTurn, reason: str) -> None:
        """Count an ended turn; an aborted one misses the SLO. Turns that generate nothing are left out."""
        if live.features is None:
            return
        self.metrics.turns(live.bundle)
        self.metrics.turns_in_slo(live.bundle, 0.0)  # so that a share of none is 0, not missing
        if live.first_token_s is None:
            return
        ttft_s = max(live.first_token_s - live.arrival_s, 0.0)
        tpot_s = (self.clock() - live.first_token_s) / max(live.request.num_output_tokens - 1, 1)
        self.metrics.ttft(live.bundle, ttft_s)
        if reason in FINISHED and ttft_s <= self.slo.ttft_s and tpot_s <= self.slo.tpot_s:
            self.metrics.turns_in_slo(live.bundle)
