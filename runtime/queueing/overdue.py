"""The bound on waits: turns beyond it go first, for a share of the engine's tokens."""

from collections.abc import Iterator

import numpy as np

from ..vllm_compat import Request
from .value import CLASS_S, LIMIT_S, Column, Floats
from .waiting_queue import HELD, Slots, WaitingQueue

MAX_OVERDUE = 32
"""Overdue turns that go first in a step, at most."""


class OverdueTurns:
    """Puts turns beyond `max_wait_s` first, longest wait first, while their token account is not overdrawn.

    The account serves the caller's priorities in their order: a turn that a higher priority keeps waiting takes nothing
    from it.

    Each step credits the account with `share` of its budget; overdue turns that went first are debited with the tokens
    that they computed. While the account is overdrawn, overdue turns are ordered by value.
    Without an account all overdue turns would go first under a lasting overload, and every turn would be late.
    (Simulated at twice the capacity with max_wait_s 10: goodput 50 turns/s with one overdue turn first in each step,
    83 with a share of 0.1, 87 with none.)

    The bound: only the last turn that goes first can overdraw the account, so the debt is at most the tokens t of the
    largest turn, and it is repaid in t / (share · budget) steps. A turn that becomes overdue behind n others of T
    tokens in total goes first after at most n + (T + t) / (share · budget) steps that admit anything.
    """

    def __init__(self, max_wait_s: float, share: float) -> None:
        self._max_wait_s = max_wait_s
        self._share = share
        self._tokens = 0.0
        self._first: dict[Request, float] = {}  # put first in the last step, with their uncached tokens

    def put_first(self, values: Floats, queue: WaitingQueue, now_s: float, token_budget: int) -> None:
        """Set the keys in `values`, shape (n,), of the turns that go first in this step. To be called once a step."""
        self._tokens -= sum(
            tokens for request, tokens in self._first.items() if request not in queue and has_started(request)
        )
        waited_s = now_s - queue.columns[Column.WAITING_SINCE_S]
        overdue = np.flatnonzero((waited_s > self._max_wait_s) & (values < HELD))
        most = token_budget if overdue.size else 0  # no credit is saved while no turn is overdue
        self._tokens = min(self._tokens + self._share * token_budget, most)
        self._first = {}
        for slot, uncached in self._affordable(_first(overdue, waited_s, queue), queue.columns):
            values[slot] = -CLASS_S - min(waited_s[slot], LIMIT_S)
            self._first[queue.requests[slot]] = uncached

    def _affordable(self, overdue: Slots, columns: Floats) -> Iterator[tuple[int, float]]:
        """Slots and uncached tokens of the turns that go first, until they overdraw the account."""
        left = self._tokens
        for slot in overdue:
            if left < 0:
                return
            uncached = max(float(columns[Column.UNCACHED_TOKENS, slot]), 1.0)
            yield int(slot), uncached
            left -= uncached


def _first(overdue: Slots, waited_s: Floats, queue: WaitingQueue) -> Slots:
    """The first MAX_OVERDUE of the slots, by the caller's priority, then by the longest wait."""
    priorities = queue.priorities(overdue)
    if overdue.size > MAX_OVERDUE and not np.ptp(priorities):  # the usual case, in less time
        overdue = overdue[np.argpartition(-waited_s[overdue], MAX_OVERDUE)[:MAX_OVERDUE]]
        priorities = priorities[:MAX_OVERDUE]
    first: Slots = overdue[np.lexsort((-waited_s[overdue], priorities))[:MAX_OVERDUE]]
    return first


def has_started(request: Request) -> bool:
    """Whether a request that left the queue has computed anything; an aborted one has cost nothing."""
    return request.num_computed_tokens > 0
