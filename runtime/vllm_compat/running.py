"""The running requests of vLLM's scheduler: read, and put into the order in which vLLM preempts them."""

from collections.abc import Sequence

from .names import AsyncScheduler, PauseState, Request, SchedulingPolicy


def running_requests(scheduler: AsyncScheduler) -> Sequence[Request]:
    return tuple(scheduler.running)


def running_count(scheduler: AsyncScheduler) -> int:
    return len(scheduler.running)


def decode_tokens(scheduler: AsyncScheduler) -> int:
    """Tokens that the decodes of the running requests take in the next step, drafts included."""
    decodes = [request.is_prefill_chunk for request in scheduler.running].count(False)
    return int(decodes * (1 + scheduler.num_spec_tokens))


def move_to_end(scheduler: AsyncScheduler, last: Sequence[Request]) -> None:
    """Move running requests to the end, in this order; vLLM preempts the last one first (only under FCFS)."""
    moved = set(last)
    scheduler.running[:] = [request for request in scheduler.running if request not in moved] + list(last)


def orders_by_priority(scheduler: AsyncScheduler) -> bool:
    """Whether vLLM was started with `--scheduling-policy priority`."""
    return bool(scheduler.policy == SchedulingPolicy.PRIORITY)


def is_paused(scheduler: AsyncScheduler) -> bool:
    return bool(scheduler.pause_state != PauseState.UNPAUSED)
