"""Head-of-line blocking: smaller turns pass a turn that does not fit into the free KV cache, for a bounded time.

vLLM stops admitting at the first request that does not fit: its blocks stay reserved, and every request behind it
waits. Here such a turn is first moved behind those that fit. After `pass_over_s` it goes first, and vLLM's stop becomes
its reservation: freed blocks stay free until it fits.
"""

from collections.abc import Callable

from ..vllm_compat import Request
from .free_room import Demand
from .waiting_queue import WaitingQueue

FRONT = 32
"""Turns at the front of the queue that a step looks at, at most."""


class PassingOver:
    """Which turns are passed over. One turn at a time has a reservation: the one that was passed over first."""

    def __init__(self, pass_over_s: float, longest_s: float) -> None:
        """`longest_s`: bound on a reservation, for a KV cache whose blocks never become free (a paused streaming
        session); afterwards others pass again."""
        self._pass_over_s = pass_over_s
        self._longest_s = longest_s
        self.since_s: dict[Request, float] = {}
        """When each turn was passed over first, oldest first."""

    def reserved(self, queue: WaitingQueue, now_s: float) -> Request | None:
        """The waiting turn that has been passed over for long enough and goes first now."""
        for request, since_s in list(self.since_s.items()):
            if now_s < since_s:
                self.since_s[request] = now_s  # the clock was set back: the wait grows by no more than that
            elif request not in queue or now_s - since_s > self._pass_over_s + self._longest_s:
                del self.since_s[request]  # admitted, gone, or reserved in vain
            elif now_s - since_s >= self._pass_over_s:
                return request
        return None

    def arrange(
        self,
        queue: WaitingQueue,
        demand: Callable[[Request, int], Demand],
        free_blocks: int,
        token_budget: int,
        now_s: float,
    ) -> list[Request]:
        """Walk along the ranked queue as a step would, move turns that do not fit behind the others and return them.
        Stops at a turn that has a reservation. `demand` is called with the blocks that are still free."""
        passed: list[Request] = []
        for request in queue.foremost(FRONT):
            if free_blocks <= 0 or token_budget <= 0:
                break
            blocks, tokens = demand(request, free_blocks)
            if blocks <= free_blocks:
                free_blocks -= blocks
                token_budget -= tokens
            elif now_s - self.since_s.setdefault(request, now_s) >= self._pass_over_s:
                break
            else:
                passed.append(request)
        if passed:
            queue.defer(passed)
        return passed
