"""P-PAS: a cap on the step's tokens while several prefills meet running decodes, else the full budget; FCFS.

Saemann, "P-PAS: Prefill-Pressure Adaptive Scheduling for Long-Context LLM Serving" (arXiv 2608.15171, 2026;
github.com/TimoSaemann/ppas-vllm; vLLM's RFC 52906): 2,048 tokens when at least 2 prefills are active and decodes run.
"""

from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput

from ....runtime.steering.step_budget import StepBudget

CAP_TOKENS = 2048
ACTIVE_PREFILLS = 2


def step_budget(full_tokens: int, prefills: int, decodes: int) -> int:
    """Tokens that a step may hold with so many prefills active and decodes running."""
    if prefills >= ACTIVE_PREFILLS and decodes > 0:
        return min(CAP_TOKENS, full_tokens)
    return full_tokens


def capped_budget(scheduler: AsyncScheduler, full_tokens: int) -> int:
    """Of the next step. Active are the prefills in the batch and all that wait, as in the author's patch to vLLM."""
    chunked = sum(request.is_prefill_chunk for request in scheduler.running)
    return step_budget(full_tokens, chunked + len(scheduler.waiting), len(scheduler.running) - chunked)


class CappedBudget(StepBudget):
    """This cap in place of AugServe's controller."""

    def __init__(self, scheduler: AsyncScheduler) -> None:
        self._scheduler = scheduler
        self._full_tokens = scheduler.max_num_scheduled_tokens

    def before_step(self, now_s: float) -> None:  # noqa: ARG002
        self._scheduler.max_num_scheduled_tokens = capped_budget(self._scheduler, self._full_tokens)


class PrefillCap(AsyncScheduler):
    """vLLM's own order under this cap."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._full_tokens = self.max_num_scheduled_tokens

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        self.max_num_scheduled_tokens = capped_budget(self, self._full_tokens)
        return super().schedule(throttle_prefills)
