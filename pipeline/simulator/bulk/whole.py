"""Whole steps in bulk: k decode steps, between which nothing can happen, scheduled as one step of k accepted tokens.

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

from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.request import Request

from ..forward import Output, Step
from ..profile import StepProfile
from .paced import DRAFT_ID, Paced, RoomForBulk

LEAST_STEPS = 2
"""Fewer decode steps are no bulk."""
MOST_STEPS = 1000
"""Of one bulk."""


class BulkDecode:
    """Plans and schedules the bulks of one scheduler."""

    def __init__(self, scheduler: RoomForBulk, profile: StepProfile) -> None:
        self._scheduler = scheduler
        self._profile = profile
        self._paced = scheduler if isinstance(scheduler, Paced) else None
        self._pool = scheduler.kv_cache_manager.block_pool
        self._refused: tuple[Request, int, int] | None = None  # the first waiting request, how many wait, free blocks
        # vLLM's limit on the tokens of a long prefill counts those of a bulk too.
        self._most_steps = min(MOST_STEPS, scheduler.scheduler_config.long_prefill_token_threshold or MOST_STEPS)
        self._kept_blocks = scheduler.kv_cache_manager.watermark_blocks  # AugServe counts them as taken

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
        if count == 0 or starts_s >= until_s:
            return ()
        steps, context_tokens = self._most_steps, count
        for request in running:
            if request.is_prefill_chunk:
                return ()
            output = outputs[request.request_id]
            steps = min(steps, output.end - output.at - request.num_output_placeholders - 1)
            context_tokens += request.num_computed_tokens
        free_blocks = self._pool.get_num_free_blocks() - self._kept_blocks
        steps = min(steps, (free_blocks // count - 2) * scheduler.block_size)
        if steps < LEAST_STEPS:
            return ()
        if self._paced is not None:  # last, because to look again takes the longest
            until_s = min(until_s, self._paced.looks_again_s())
        if starts_s >= until_s or self.may_admit():
            return ()
        ends_s = [starts_s]
        while starts_s < until_s and len(ends_s) <= steps:
            starts_s += self._profile.step_s(0, count, context_tokens)
            ends_s.append(starts_s)
            context_tokens += count
        return tuple(ends_s) if len(ends_s) > LEAST_STEPS else ()

    def may_admit(self) -> bool:
        """Whether the next step may admit a waiting request.

        None is admitted while all seats are taken, or while the first one waits that the last step has refused.
        """
        scheduler = self._scheduler
        if scheduler.kv_holding_waiting or scheduler.deferred_waiting:
            return True
        if not scheduler.waiting or len(scheduler.running) >= scheduler.max_num_active_reqs:
            return False
        if self._refused is None or self._reorders():
            return True
        first, waiting, free_blocks = self._refused
        if waiting != len(scheduler.waiting) or scheduler.waiting.peek_request() is not first:
            return True
        return bool(self._pool.get_num_free_blocks() > free_blocks)

    def _reorders(self) -> bool:
        """Whether the policy may reorder the waiting requests. A look at the first one would then sort its queue."""
        return self._paced is not None and self._paced.looks_again_s() == float("-inf")

    def note_refusal(self, step: Step) -> None:
        """Note the request that this step has refused for want of free blocks, if any."""
        scheduler, self._refused = self._scheduler, None
        spare = step.tokens < scheduler.max_num_scheduled_tokens
        if spare and scheduler.waiting and not step.scheduled.preempted_req_ids and not self._reorders():
            first = scheduler.waiting.peek_request()
            self._refused = first, len(scheduler.waiting), self._pool.get_num_free_blocks()

    def schedule(self, ends_s: Sequence[float]) -> SchedulerOutput:
        """vLLM's step for a planned bulk."""
        scheduler, steps = self._scheduler, len(ends_s) - 1
        drafts = [DRAFT_ID] * (steps - 1)
        for request in scheduler.running:
            request.spec_token_ids = drafts
        scheduler.bulk_tokens = (steps - 1) * len(scheduler.running)
        return scheduler.schedule()
