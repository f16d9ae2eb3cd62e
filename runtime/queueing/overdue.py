"""The bound on waits: who has waited beyond it goes first, for a share of the engine's tokens."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..vllm_compat import Request
from .value import CLASS_S, LIMIT_S, Column, Floats

Slots = NDArray[np.intp]

MAX_OVERDUE = 32
"""So many go first in a step at most."""


class Waiting(Protocol):
    """The waiting queue, as far as this needs it; see queue.WaitingQueue."""

    @property
    def columns(self) -> Floats: ...

    @property
    def requests(self) -> Sequence[Request]: ...

    def __contains__(self, request: object) -> bool: ...


class OverdueTurns:
    """Lets those beyond `max_wait_s` go first, the longest wait first, as far as their account of tokens reaches.

    It is credited with `share` of each step's budget and debited with what those who went first had to compute; while
    it is overdrawn they stand where their value puts them. Not all go first: under a lasting overload the overdue grow
    without bound, and all of them first would make everybody late (simulated at twice the capacity, max_wait_s 10: 50
    turns/s in time with one of them first in each step, 83 with a share of 0.1, 87 with none).

    The bound: only those that went first are debited, and only the last of them can overdraw the account, so that it is
    in debt by no more than the largest turn's tokens, t. The overdue are passed over for no longer than it takes to pay
    that back: t / (share · budget) steps. Who is overdue behind n others of T tokens in all therefore goes first after
    n + (T + t) / (share · budget) steps at most, of those that admit anybody at all.
    """

    def __init__(self, max_wait_s: float, share: float) -> None:
        self._max_wait_s = max_wait_s
        self._share = share
        self._tokens = 0.0
        self._first: dict[Request, float] = {}  # in the step before, with their uncached tokens

    @property
    def overdrawn(self) -> bool:
        """Whether nobody could go first in the step last asked about."""
        return self._tokens < 0

    def put_first(self, values: Floats, queue: Waiting, now_s: float, token_budget: int) -> None:
        """Set the keys in `values`, shape (n,), of those of `queue` that go first in this step, whose budget is given.
        Asked once a step."""
        self._tokens -= sum(
            tokens for request, tokens in self._first.items() if request not in queue and begun(request)
        )
        waited_s = now_s - queue.columns[Column.WAITING_SINCE_S]
        overdue = np.flatnonzero(waited_s > self._max_wait_s)
        most = token_budget if overdue.size else 0  # nothing is saved up for those to come
        self._tokens = min(self._tokens + self._share * token_budget, most)
        self._first = {}
        for slot, uncached in self._affordable(overdue, waited_s, queue.columns):
            values[slot] = -CLASS_S - min(waited_s[slot], LIMIT_S)
            self._first[queue.requests[slot]] = uncached

    def _affordable(self, overdue: Slots, waited_s: Floats, columns: Floats) -> Iterator[tuple[int, float]]:
        """Slots and uncached tokens of those that go first, until what they compute overdraws the account."""
        left = self._tokens
        if self.overdrawn or not overdue.size:
            return
        if overdue.size > MAX_OVERDUE:
            overdue = overdue[np.argpartition(-waited_s[overdue], MAX_OVERDUE)[:MAX_OVERDUE]]
        for slot in overdue[np.argsort(-waited_s[overdue], kind="stable")]:
            if left < 0:
                return
            uncached = max(float(columns[Column.UNCACHED_TOKENS, slot]), 1.0)
            yield int(slot), uncached
            left -= uncached


def begun(request: Request) -> bool:
    """Whether anything was computed of a request that waits no longer: an aborted one has cost nothing."""
    return request.num_computed_tokens > 0
