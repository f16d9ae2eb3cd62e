"""What a simulated scheduler must allow for, and may say about, decode steps in bulk."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput

DRAFT_ID = -1
"""vLLM's placeholder of a draft token whose id only the worker knows."""


class RoomForBulk(AsyncScheduler):
    """vLLM's scheduler, whose token budget counts a decode that stands for several steps once."""

    bulk_tokens = 0
    """Tokens beyond those of a single step. Below 0: decodes that were scheduled before."""

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        limits, more = self.scheduler_config, self.bulk_tokens
        self.max_num_scheduled_tokens += more
        limits.max_num_batched_tokens += more
        try:
            return super().schedule(throttle_prefills)
        finally:
            self.max_num_scheduled_tokens -= more
            limits.max_num_batched_tokens -= more
            self.bulk_tokens = 0


@runtime_checkable
class Paced(Protocol):
    """A scheduler that decides by the time too, or learns from each step."""

    def looks_again_s(self) -> float:
        """Virtual time from which a decode step may decide anew although nothing has happened."""

    def step_ends(self, prefill_tokens: int, decodes: int) -> None:
        """A step ends that computed so many prompt tokens and decodes, whatever its output counts."""

    def decode_steps_end(self, ends_s: Sequence[float], decodes: int) -> None:
        """Steps end in which vLLM's output counts no decode: `decodes` requests ran. `ends_s`: the start of the first
        step, then the end of each."""
