"""The running requests of vLLM's scheduler: read, and put into the order in which vLLM preempts them."""

from collections.abc import Sequence

from .names import AsyncScheduler, PauseState, Request, SchedulingPolicy


def running_requests(scheduler: AsyncScheduler) -> Sequence[Request]:
    return tuple(scheduler.running)


def running_count(scheduler: AsyncScheduler) -> int:
    return len(scheduler.running)


def decoding(scheduler: AsyncScheduler) -> list[str]:
    """Ids of the running requests that decode in the next step."""
    return [request.request_id for request in scheduler.running if not request.is_prefill_chunk]


def running_prompts(scheduler: AsyncScheduler) -> list[tuple[int, int]]:
    """Of each running prompt how many of its tokens are not computed yet, and its tokens. Those that a preempted
    request has generated count too."""
    return [
        (max(request.num_tokens - request.num_computed_tokens, 0), request.num_tokens)
        for request in scheduler.running
        if request.is_prefill_chunk
    ]


def tokens_per_decode(scheduler: AsyncScheduler) -> int:
    """Tokens that a decode takes in a step, drafts included."""
    return 1 + int(scheduler.num_spec_tokens)


def move_to_end(scheduler: AsyncScheduler, last: Sequence[Request]) -> None:
    """Move running requests to the end, in this order; vLLM preempts the last one first (only under FCFS)."""
    moved = set(last)
    scheduler.running[:] = [request for request in scheduler.running if request not in moved] + list(last)


def orders_by_priority(scheduler: AsyncScheduler) -> bool:
    """Whether vLLM was started with `--scheduling-policy priority`."""
    return bool(scheduler.policy == SchedulingPolicy.PRIORITY)


def is_paused(scheduler: AsyncScheduler) -> bool:
    return bool(scheduler.pause_state != PauseState.UNPAUSED)
