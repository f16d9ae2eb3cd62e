"""One engine: vLLM's scheduler and the objects that AugServe's parts share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from . import vllm_compat
from .guard import Guard
from .metrics import Metrics
from .sessions.live_turn import LiveTurn
from .vllm_compat import AsyncScheduler, KvCache, RunningDemand


@dataclass(frozen=True, slots=True)
class Engine:
    scheduler: AsyncScheduler
    kv_cache: KvCache
    running_demand: RunningDemand
    guard: Guard
    metrics: Metrics
    clock: Callable[[], float]  # the clock of `Request.arrival_time`
    active: bool  # False in shadow mode: everything is decided, nothing is applied
    turns: dict[str, LiveTurn] = field(default_factory=dict)  # live turns by request id

    @classmethod
    def of(cls, scheduler: AsyncScheduler, clock: Callable[[], float], version: str, mode: str) -> Self:
        metrics = Metrics(vllm_compat.engine_number(scheduler), version, mode)
        kv_cache, running_demand = KvCache(scheduler), RunningDemand(scheduler)
        return cls(
            scheduler, kv_cache, running_demand, Guard(clock, metrics.fallback), metrics, clock, mode == "active"
        )
