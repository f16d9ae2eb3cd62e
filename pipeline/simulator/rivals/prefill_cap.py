"""P-PAS: a cap on the token budget while several prefills run beside decodes, in vLLM's own order."""

from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput

from ....runtime.steering.step_budget import StepBudget

CAP_TOKENS = 2048
ACTIVE_PREFILLS = 2


def step_budget(full_tokens: int, prefills: int, decodes: int) -> int:
    """Token budget of a step with so many active prefills and running decodes."""
    if prefills >= ACTIVE_PREFILLS and decodes > 0:
        return min(CAP_TOKENS, full_tokens)
    return full_tokens


def capped_budget(scheduler: AsyncScheduler, full_tokens: int) -> int:
    """Budget of the next step. As in the author's patch, the waiting requests count as active prefills."""
    chunked = sum(request.is_prefill_chunk for request in scheduler.running)
    return step_budget(full_tokens, chunked + len(scheduler.waiting), len(scheduler.running) - chunked)


class CappedBudget(StepBudget):
    """The cap as AugServe's rule for the token budget."""

    def __init__(self, scheduler: AsyncScheduler) -> None:
        self._scheduler = scheduler
        self._full_tokens = scheduler.max_num_scheduled_tokens

    def before_step(self) -> None:
        self._scheduler.max_num_scheduled_tokens = capped_budget(self._scheduler, self._full_tokens)


class PrefillCap(AsyncScheduler):
    """vLLM's FCFS order under the cap: 2,048 tokens while at least two prefills are active and decodes run.

    Saemann, "P-PAS: Prefill-Pressure Adaptive Scheduling for Long-Context LLM Serving" (arXiv 2608.15171, 2026;
    github.com/TimoSaemann/ppas-vllm; vLLM RFC 52906).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._full_tokens = self.max_num_scheduled_tokens

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        self.max_num_scheduled_tokens = capped_budget(self, self._full_tokens)
        return super().schedule(throttle_prefills)
