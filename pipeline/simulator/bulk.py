"""Bulk decode: k decode steps, between which nothing can happen, scheduled as one step of k accepted tokens.

vLLM's own path for speculation does it: each running request gets k - 1 draft tokens, the scheduler schedules k tokens,
and the output brings them all. Turns, times and counts are those of single steps. So a bulk ends before anything that
a single step would decide or show:

- before the step that ends a turn: a turn's last token comes from a step of its own;
- with the next arrival or the end of the run, which may fall into its last step;
- before the policy looks again (`Paced`), and before free KV blocks become so few that a policy would act.

There is no bulk while a prompt is computed or a waiting request might be admitted. With two batches in flight vLLM
schedules a step while the one before it runs: the step after a bulk is scheduled as the bulk's last step begins.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.request import Request

from .forward import Output
from .profile import StepProfile

LEAST_STEPS = 2
"""Fewer decode steps are no bulk."""
DRAFT_ID = -1
"""vLLM's placeholder of a draft token whose id only the worker knows."""


class RoomForBulk(AsyncScheduler):
    """vLLM's scheduler, whose token budget bounds a decode step and not a bulk of them."""

    bulk_tokens = 0

    @property
    def max_num_scheduled_tokens(self) -> int:
        return max(self._budget_tokens, self.bulk_tokens)

    @max_num_scheduled_tokens.setter
    def max_num_scheduled_tokens(self, tokens: int) -> None:
        self._budget_tokens = tokens


@runtime_checkable
class Paced(Protocol):
    """A scheduler that decides by the time too, or learns from each step."""

    def looks_again_s(self) -> float:
        """Virtual time from which a decode step may decide anew although nothing has happened."""

    def decode_steps_ended(self, ends_s: Sequence[float], decodes: int) -> None:
        """A bulk of `decodes` requests has ended. `ends_s`: the start of its first step, then the end of each."""


class BulkDecode:
    """Plans and schedules the bulks of one scheduler."""

    def __init__(self, scheduler: RoomForBulk, profile: StepProfile) -> None:
        self._scheduler = scheduler
        self._profile = profile
        self._paced = scheduler if isinstance(scheduler, Paced) else None
        self._most_tokens = scheduler.scheduler_config.max_num_batched_tokens
        self._pool = scheduler.kv_cache_manager.block_pool
        self._refused: tuple[Request, int, int] | None = None  # the first waiting request, how many wait, free blocks
        self._margin_blocks = 2 + self._most_tokens // scheduler.block_size
        self._margin_blocks += scheduler.kv_cache_manager.watermark_blocks

    def ends_s(self, outputs: Mapping[str, Output], starts_s: float, until_s: float) -> tuple[float, ...]:
        """The start of the next bulk and the end of each of its steps; empty where the next step must be single.

        Args:
            outputs: what the requests are to say.
            starts_s: when the engine can begin the next step.
            until_s: the next event; it may fall into the last step of the bulk, not before.
        """
        scheduler = self._scheduler
        running = scheduler.running
        count = len(running)
        if self._paced is not None:
            until_s = min(until_s, self._paced.looks_again_s())
        if count == 0 or starts_s >= until_s or self._may_admit():
            return ()
        steps, context_tokens = self._most_tokens // count, count
        for request in running:
            if request.is_prefill_chunk:
                return ()
            output = outputs[request.request_id]
            steps = min(steps, output.end - output.at - request.num_output_placeholders - 1)
            context_tokens += request.num_computed_tokens
        free_blocks = self._pool.get_num_free_blocks() - self._margin_blocks
        steps = min(steps, (free_blocks // count - 2) * scheduler.block_size)
        ends_s = [starts_s]
        while starts_s < until_s and len(ends_s) <= steps:
            starts_s += self._profile.step_s(0, count, context_tokens)
            ends_s.append(starts_s)
            context_tokens += count
        return tuple(ends_s) if len(ends_s) > LEAST_STEPS else ()

    def _may_admit(self) -> bool:
        """Whether the next step may admit a waiting request.

        None is admitted while all seats are taken, or while the first one waits that the last step has refused.
        """
        scheduler = self._scheduler
        if scheduler.kv_holding_waiting or scheduler.deferred_waiting:
            return True
        if not scheduler.waiting or len(scheduler.running) >= scheduler.max_num_active_reqs:
            return False
        if self._refused is None:
            return True
        first, waiting, free_blocks = self._refused
        if waiting != len(scheduler.waiting) or scheduler.waiting.peek_request() is not first:
            return True
        return bool(self._pool.get_num_free_blocks() > free_blocks)

    def note_refusal(self, output: SchedulerOutput) -> None:
        """Note the request that this step has refused for want of free blocks, if any."""
        scheduler, self._refused = self._scheduler, None
        spare = output.total_num_scheduled_tokens < scheduler.max_num_scheduled_tokens
        if spare and scheduler.waiting and not output.preempted_req_ids:
            first = scheduler.waiting.peek_request()
            self._refused = first, len(scheduler.waiting), self._pool.get_num_free_blocks()

    def schedule(self, ends_s: Sequence[float]) -> SchedulerOutput:
        """vLLM's step for a planned bulk."""
        scheduler, steps = self._scheduler, len(ends_s) - 1
        drafts = [DRAFT_ID] * (steps - 1)
        for request in scheduler.running:
            request.spec_token_ids = drafts
        scheduler.bulk_tokens = steps * len(scheduler.running)
        output = scheduler.schedule()
        scheduler.bulk_tokens = 0
        return output

    def ended(self, ends_s: Sequence[float], decodes: int) -> None:
        if self._paced is not None:
            self._paced.decode_steps_ended(ends_s, decodes)
