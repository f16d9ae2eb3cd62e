"""One engine: vLLM's scheduler and the objects that AugServe's parts share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from . import vllm_compat
from .clock import ArrivalClock
from .guard import Guard
from .metrics import Metrics
from .sessions.live_turn import LiveTurn
from .vllm_compat import HookedScheduler, KvCache, Request, RunningDemand


@dataclass(frozen=True, slots=True)
class Engine:
    scheduler: HookedScheduler
    kv_cache: KvCache
    running_demand: RunningDemand
    guard: Guard
    metrics: Metrics
    clock: Callable[[], float]
    active: bool  # False in shadow mode: everything is decided, nothing is applied
    arrivals: ArrivalClock | None  # None: the requests bear times of this clock
    turns: dict[str, LiveTurn] = field(default_factory=dict)  # live turns by request id

    @classmethod
    def of(
        cls,
        scheduler: HookedScheduler,
        clock: Callable[[], float],
        version: str,
        mode: str,
        trusts_arrivals: bool,
        overrides: str = "",
    ) -> Self:
        """`overrides`: the settings that the operator has changed."""
        metrics = Metrics(vllm_compat.engine_number(scheduler), version, mode, overrides)
        kv_cache, running_demand = KvCache(scheduler), RunningDemand(scheduler)
        return cls(
            scheduler,
            kv_cache,
            running_demand,
            Guard(clock, metrics.fallback, metrics.suspended, metrics.took),
            metrics,
            clock,
            mode == "active",
            None if trusts_arrivals else ArrivalClock(clock),
        )

    def arrived_s(self, request: Request) -> float:
        """When a request that is being added has arrived, on the engine's clock."""
        if self.arrivals is None:
            return request.arrival_time
        return self.arrivals.arrived_s(request.client_index, request.arrival_time)
