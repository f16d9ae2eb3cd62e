"""The waiting queue: vLLM's RequestQueue over dense columns, in vLLM's own order until it is ranked."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..vllm_compat import Request, RequestQueue

Floats = NDArray[np.float64]
Slots = NDArray[np.intp]

HEAD = 128
"""Requests that are sorted at once: more than most steps admit."""
DEFERRED = 1e12
"""Added to a key; larger than any key."""
LAST = 1e15
"""Key of a request that was added after the ranking."""
HELD = float("inf")
"""Key of a request that is not offered."""


class WaitingQueue(RequestQueue):
    """Each waiting request has a slot, its index in every array: 0 … len − 1 (a removal moves the last one).

    Order: the caller's `priority` (only with `by_priority`), then the key, then the time of entry. Before the first
    `rank` the key is vLLM's own, so that the queue equals FCFSRequestQueue or PriorityRequestQueue exactly. `rank` sets
    the keys of all waiting requests; until the next `rank`, added requests come after them and prepended ones before.
    A request ranked with the key HELD stays in the queue and is not offered until the next `rank`: `peek_request`,
    `pop_request` and the truth value pass over it, as if it were not there; `len`, `in` and iteration do not.
    Only the first HEAD are ever sorted, and only when asked for.

    `describe` returns a request's row of `width` floats as it enters, and must not raise; `columns` holds the rows.
    """

    def __init__(self, width: int, describe: Callable[[Request], Sequence[float]], by_priority: bool) -> None:
        self._describe = describe
        self._by_priority = by_priority
        self._ranked = False
        self._requests: list[Request] = []
        self._slots: dict[Request, int] = {}
        self._columns = np.zeros((width, HEAD))
        self._order = np.zeros((4, HEAD))  # rows: _CLASS, _OWN_KEY, _KEY, _TICKET
        self._front = 0
        self._back = 0
        self._held = 0
        self._head: list[tuple[float, Request]] = []  # ticket and request, the next one last

    @property
    def columns(self) -> Floats:
        """A writable view of shape (width, len), valid until the queue changes."""
        return self._columns[:, : len(self._requests)]

    @property
    def requests(self) -> Sequence[Request]:
        """The waiting requests by slot."""
        return self._requests

    @property
    def entered(self) -> int:
        """How many requests have entered so far, at either end."""
        return self._back - self._front

    @property
    def arrivals(self) -> int:
        """How many requests have been added so far, without those that were put back."""
        return self._back

    def came_after(self, arrivals: int) -> NDArray[np.bool_]:
        """Which of the waiting requests were added after so many, shape (len,)."""
        came: NDArray[np.bool_] = self._order[_TICKET, : len(self._requests)] > arrivals
        return came

    def slot(self, request: Request) -> int | None:
        return self._slots.get(request)

    def offers(self, request: Request) -> bool:
        """Whether a request of the queue is not held."""
        return bool(self._order[_KEY, self._slots[request]] != HELD)

    @property
    def offered(self) -> Slots:
        """Slots of the requests that are not held, shape (n,)."""
        offered: Slots = np.flatnonzero(self._order[_KEY, : len(self._requests)] != HELD)
        return offered

    def refresh(self, request: Request) -> None:
        """Describe a request again, if it waits."""
        slot = self._slots.get(request)
        if slot is not None:
            self._columns[:, slot] = self._describe(request)

    def head(self, count: int) -> list[Request]:
        """Up to `count` of the requests that are sorted already, in order."""
        return [request for _, request in self._head[-count:][::-1] if request in self._slots]

    def foremost(self, count: int) -> list[Request]:
        """The first `count` requests (HEAD at most, and of one priority), sorted if need be."""
        if self:
            self.peek_request()
        return self.head(count)

    def defer(self, requests: Collection[Request]) -> None:
        """Move requests behind all others of their priority until the next `rank`, in their present order."""
        slots = [self._slots[request] for request in requests]
        self._order[_KEY, slots] += DEFERRED
        gone = set(requests)
        self._head = [entry for entry in self._head if entry[1] not in gone]

    def rank(self, keys: Floats) -> None:
        """Order by `keys`, shape (len,), lowest first. Raises ValueError, and changes nothing, for a NaN."""
        if keys.shape != (len(self._requests),) or np.isnan(keys).any():
            raise ValueError(f"{len(self._requests)} requests wait, ranked by keys of shape {keys.shape} or by NaN")
        self._order[_KEY, : len(keys)] = keys
        self._held = int(np.count_nonzero(np.isposinf(keys)))
        self._ranked = True
        self._head.clear()

    def unrank(self) -> None:
        """Back to vLLM's own order."""
        if self._ranked:
            self._order[_KEY] = self._order[_OWN_KEY]
            self._ranked = False
            self._held = 0
            self._head.clear()

    def priorities(self, slots: Slots) -> Floats:
        """The caller's priority of each slot, lowest first; 0 for all without `by_priority`."""
        priorities: Floats = self._order[_CLASS, slots]
        return priorities

    def reorders(self, keys: Floats) -> bool:
        """Whether `keys` would let another request go first than vLLM's own order does."""
        own = self._order[_OWN_KEY, : len(keys)]
        if self._by_priority:
            foremost = self._first_class()
            own, keys = own[foremost], keys[foremost]
        return bool(len(keys) and keys[own.argmin()] > keys.min())

    def add_request(self, request: Request) -> None:
        self._back += 1
        self._insert(request, float(self._back), LAST)
        if self._by_priority:
            self._head.clear()

    def prepend_request(self, request: Request) -> None:
        self._front -= 1
        self._insert(request, float(self._front), -np.inf)
        if self._by_priority:
            self._head.clear()
        else:
            self._head.append((float(self._front), request))

    def prepend_requests(self, requests: Iterable[Request]) -> None:
        """As vLLM's: they end up in reverse order."""
        for request in requests:
            self.prepend_request(request)

    def peek_request(self) -> Request:
        while True:
            while self._head:
                ticket, request = self._head[-1]
                slot = self._slots.get(request)
                if slot is not None and self._order[_TICKET, slot] == ticket:
                    return request
                self._head.pop()  # removed since
            if not self:
                raise IndexError("peek from a queue that offers nothing")
            self._head = self._first()

    def pop_request(self) -> Request:
        request = self.peek_request()
        self._head.pop()
        self._remove(request)
        return request

    def remove_request(self, request: Request) -> None:
        """Raises ValueError for a request that is not in the queue, as vLLM's does."""
        if request not in self._slots:
            raise ValueError(f"request {request.request_id} is not in the queue")
        self._remove(request)

    def remove_requests(self, requests: Iterable[Request]) -> None:
        for request in requests:
            if request in self._slots:
                self._remove(request)

    def __bool__(self) -> bool:
        return len(self._requests) > self._held

    def __len__(self) -> int:
        return len(self._requests)

    def __contains__(self, request: object) -> bool:
        return request in self._slots

    def __iter__(self) -> Iterator[Request]:
        """In order. Sorts all of them: not for the hot path."""
        n = len(self._requests)
        if self._by_priority and not self._ranked:
            return iter(sorted(self._requests))
        order = self._order[:, :n]
        return iter([self._requests[slot] for slot in np.lexsort((order[_TICKET], order[_KEY], order[_CLASS]))])

    def _insert(self, request: Request, ticket: float, key: float) -> None:
        if request in self._slots:  # preempted, a streaming session ends what it says: vLLM adds it, then removes both
            self._remove(request)
        slot = len(self._requests)
        if slot == self._columns.shape[1]:
            self._columns = np.concatenate((self._columns, np.zeros_like(self._columns)), axis=1)
            self._order = np.concatenate((self._order, np.zeros_like(self._order)), axis=1)
        own = request.arrival_time if self._by_priority else ticket
        caller = request.priority if self._by_priority else 0
        self._order[:, slot] = (caller, own, key if self._ranked else own, ticket)
        self._columns[:, slot] = self._describe(request)
        self._requests.append(request)
        self._slots[request] = slot

    def _remove(self, request: Request) -> None:
        slot = self._slots.pop(request)
        last = self._requests.pop()
        self._held -= bool(self._order[_KEY, slot] == HELD)
        if last is not request:
            self._requests[slot] = last
            self._slots[last] = slot
            end = len(self._requests)
            self._columns[:, slot] = self._columns[:, end]
            self._order[:, slot] = self._order[:, end]

    def _first_class(self) -> NDArray[np.intp]:
        """Slots of the offered requests of the caller's foremost priority."""
        n = len(self._requests)
        offered = np.flatnonzero(self._order[_KEY, :n] != HELD) if self._held else np.arange(n)
        if not self._by_priority or offered.size == 0:
            return offered
        classes = self._order[_CLASS, offered]
        foremost: NDArray[np.intp] = offered[classes == classes.min()]
        return foremost

    def _first(self) -> list[tuple[float, Request]]:
        """The first HEAD of the foremost priority (more where keys tie), the first one last."""
        slots = self._first_class()
        if len(slots) > HEAD:
            keys = self._order[_KEY, slots]
            slots = slots[keys <= np.partition(keys, HEAD - 1)[HEAD - 1]]
        if self._by_priority and not self._ranked:
            slots = np.array(sorted(slots, key=self._requests.__getitem__))
        else:
            slots = slots[np.lexsort((self._order[_TICKET, slots], self._order[_KEY, slots]))]
        tickets = self._order[_TICKET, slots].tolist()
        return [(ticket, self._requests[slot]) for ticket, slot in zip(tickets, slots.tolist(), strict=True)][::-1]


_CLASS, _OWN_KEY, _KEY, _TICKET = range(4)
