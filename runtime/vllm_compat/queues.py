"""The waiting queue of vLLM's scheduler, which AugServe replaces by its own."""

from .names import AsyncScheduler, RequestQueue, create_request_queue


def waiting_queue(scheduler: AsyncScheduler) -> RequestQueue:
    queue: RequestQueue = scheduler.waiting
    return queue


def set_waiting_queue(scheduler: AsyncScheduler, queue: RequestQueue) -> None:
    scheduler.waiting = queue


def own_queue(scheduler: AsyncScheduler) -> RequestQueue:
    """An empty queue as vLLM would make it."""
    return create_request_queue(scheduler.policy)
