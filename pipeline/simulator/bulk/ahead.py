"""Decoding ahead: single requests decode the rest of their KV block as one step of accepted tokens, while prompts are
computed or requests wait, so that whole steps cannot be joined (whole.py).

Such a request is scheduled once for k tokens, no more than its last block holds, so that no block is taken earlier than
by single steps. vLLM passes over it in the next k - 1 steps (`next_decode_eligible_step`), and its tokens come with the
k-th. Each step's time counts it, and the token budget is corrected for it. The step that ends a turn is never part of
it. Turns are those of single steps to the bit, unless a policy looks at the tokens that a request has generated:
AugServe when it chooses whom to preempt, MARS when it queues a preempted request. They see up to a block less.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.request import Request

from ..forward import Ahead, Output
from .paced import DRAFT_ID, RoomForBulk

MOST_AHEAD = 16
"""Most steps of one request: a bulk of whole steps waits for those that decode ahead."""


class DecodeAhead:
    """The requests of one scheduler that decode ahead."""

    def __init__(self, scheduler: RoomForBulk) -> None:
        self._scheduler = scheduler
        self._drafts = [[DRAFT_ID] * count for count in range(MOST_AHEAD)]
        self._planned: list[Request] = []
        self._under_way: dict[str, Ahead] = {}
        self._context_tokens = 0  # of the requests under way, in the step scheduled last
        self._due: defaultdict[int, list[Ahead]] = defaultdict(list)  # by the step that delivers them

    def __len__(self) -> int:
        """Requests that the next step passes over."""
        return len(self._under_way)

    def __iter__(self) -> Iterator[Ahead]:
        return iter(self._under_way.values())

    def plan(self, outputs: Mapping[str, Output], steps: int) -> None:
        """Before a step: give drafts to the requests that begin to decode ahead, `steps` at most; none below 2."""
        scheduler, self._planned, more = self._scheduler, [], 0
        step, block_tokens = scheduler.current_step + 1, scheduler.block_size
        for request in scheduler.running if steps > 1 else ():
            if request.is_prefill_chunk or step < request.next_decode_eligible_step:
                continue
            output = outputs[request.request_id]
            tokens = min(
                steps,
                block_tokens - request.num_computed_tokens % block_tokens,
                output.end - output.at - request.num_output_placeholders - 1,
            )
            request.spec_token_ids = self._drafts[max(tokens - 1, 0)]
            if tokens > 1:
                self._planned.append(request)
                more += tokens - 1
        scheduler.bulk_tokens = more - len(self._under_way)

    def scheduled(self, output: SchedulerOutput, before: list[Ahead] | None) -> tuple[int, int, list[Ahead]]:
        """After a step was scheduled: take the requests that decode ahead out of its output.

        Args:
            before: what the step in flight is to deliver; a preempted request's tokens come with it, as far as it got.

        Returns: the decodes of the step that its output does not show, their context tokens beyond those in the
        output, and what the step is to deliver.
        """
        scheduler = self._scheduler
        step, counts = scheduler.current_step, output.num_scheduled_tokens
        due = self._due.pop(step, [])
        for request_id in output.preempted_req_ids or ():
            if (ahead := self._under_way.pop(request_id, None)) is not None:
                (due if ahead in due else self._due[ahead.last_step]).remove(ahead)
                self._context_tokens -= ahead.context_tokens + step - 1 - ahead.first_step
                ahead.tokens = step - ahead.first_step
                ahead.request.next_decode_eligible_step = 0
                (due if before is None else before).append(ahead)
        decodes = len(self._under_way)
        self._context_tokens += decodes
        context_tokens = self._context_tokens
        for request in self._planned:
            tokens = counts.get(request.request_id, 0)
            request.spec_token_ids = []
            if tokens > 1:
                del counts[request.request_id]
                ahead = Ahead(request, step, tokens, tokens, request.num_computed_tokens - tokens + 1)
                request.next_decode_eligible_step = step + tokens
                self._under_way[request.request_id] = ahead
                self._due[ahead.last_step].append(ahead)
                self._context_tokens += ahead.context_tokens
                decodes += 1
                context_tokens += 1
        output.scheduled_spec_decode_tokens.clear()
        scheduler.prev_step_scheduled_req_ids.update(self._under_way)  # else vLLM copies all their tokens
        for ahead in due:
            if self._under_way.pop(ahead.request.request_id, None) is not None:
                self._context_tokens -= ahead.context_tokens + step - ahead.first_step
        return decodes, context_tokens, due
