"""A step that vLLM has just scheduled, as a row of the table `steps`."""

from collections.abc import Mapping

from ...data.tables.schema import StepRow
from .names import AsyncScheduler, Request, SchedulerOutput
from .requests import is_decode


def step_row(
    scheduler: AsyncScheduler, output: SchedulerOutput, kv_usage: float, start_s: float, schedule_s: float
) -> StepRow:
    """The step that `schedule()` returned as `output`; the call began at `start_s` and took `schedule_s`."""
    running, waiting = scheduler.get_request_counts()
    return StepRow(
        scheduler.current_step,
        start_s,
        *measure_tokens(output, scheduler.requests),
        kv_usage=kv_usage,
        waiting=waiting,
        running=running,
        token_budget=scheduler.max_num_scheduled_tokens,
        schedule_s=schedule_s,
    )


def measure_tokens(output: SchedulerOutput, requests: Mapping[str, Request]) -> tuple[int, int, int]:
    """Prefill tokens, decoding requests, and context tokens attended to.

    Without speculative decoding, a request with one scheduled token counts as a decode unless it has no output yet.
    (So does a one-token chunk that a preempted request computes again.) This runs each step, hence the C loops.
    """
    scheduled, cached, new = output.num_scheduled_tokens, output.scheduled_cached_reqs, output.scheduled_new_reqs
    total = output.total_num_scheduled_tokens
    context_tokens = total + sum(cached.num_computed_tokens) + sum([request.num_computed_tokens for request in new])
    if output.scheduled_spec_decode_tokens:
        decodes = [tokens for request_id, tokens in scheduled.items() if is_decode(requests[request_id], tokens)]
        return total - sum(decodes), len(decodes), context_tokens
    decoding = list(scheduled.values()).count(1) - sum([scheduled[request.req_id] == 1 for request in new])
    if 0 in cached.num_output_tokens:
        outputs = zip(cached.req_ids, cached.num_output_tokens, strict=True)
        decoding -= sum([scheduled[request_id] == 1 for request_id, tokens in outputs if tokens == 0])
    return total - decoding, decoding, context_tokens
