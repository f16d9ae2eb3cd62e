"""What a scheduling policy is for the simulator."""

from collections.abc import Callable
from dataclasses import dataclass

from ....models.serving.settings import SchedulerSettings

OUTPUT_LENGTH, TOOL_DURATION, REMAINING_TURNS = "output length", "tool duration", "remaining turns"
EVERYTHING = (OUTPUT_LENGTH, TOOL_DURATION, REMAINING_TURNS)


VLLM_SCHEDULER = "vllm.v1.core.sched.async_scheduler:AsyncScheduler"
AUGSERVE_SCHEDULER = "augserve.runtime.scheduler:AugServeScheduler"


@dataclass(frozen=True, slots=True)
class Policy:
    """A scheduling policy: its words for tables, and how its scheduler is built."""

    name: str
    title: str
    description: str
    scheduler: str  # module:Class
    source: str = ""  # the paper or pull request that it implements
    predicts: tuple[str, ...] = ()
    oracle: bool = False  # predictions come from the workload itself instead of from the models
    ablates: str = ""  # the part of AugServe that an ablation leaves out or replaces
    adjust: Callable[[SchedulerSettings], SchedulerSettings] | None = None  # applied to the settings before a run
    knows_programs: bool = False  # which sessions and sub-agents belong together, and when they end
    unbounded_cache: bool = False  # the KV cache has room for all contexts of a run, so that nothing is evicted
    knows: tuple[str, str] | None = None  # a quantity of the forecasts, and its source instead of the models
    tunes: str = ""  # no policy of its own: an evaluation replaces it by this policy at its best static setting

    @property
    def needs_models(self) -> bool:
        return bool(self.predicts) and not self.oracle

    @property
    def uses_deployed_settings(self) -> bool:
        """Whether tuned weights and gains matter; other policies read the SLO and the step time only."""
        return self.scheduler == AUGSERVE_SCHEDULER

    @property
    def is_stock(self) -> bool:
        """Whether vLLM's own class schedules, so that no code of AugServe can change the result."""
        return self.scheduler == VLLM_SCHEDULER
