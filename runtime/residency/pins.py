"""The pinned contexts of paused sessions: at most one a session, bounded in total, released by waste."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from ..sessions.live_turn import Forecast
from ..vllm_compat import BlockReferences, KVCacheBlock, Request
from .policy import ContextPolicy

REVIEW_S = 0.25
"""Least time between two reviews of all pins."""


@dataclass(slots=True, eq=False)
class Pin:
    """One pinned context: an additional reference on each of its blocks."""

    blocks: list[KVCacheBlock]
    tokens: int
    pause_s: float  # forecast
    start_s: float
    expires_s: float
    claimed_by: str | None = None  # id of the session's next request, while it waits


class Pins:
    """Pins by session. With `max_blocks` 0 it stays empty."""

    def __init__(
        self, references: BlockReferences, policy: ContextPolicy, max_blocks: int, released: Callable[[str], None]
    ) -> None:
        """`released` is called with the reason of each release: hit, expired, waste, pressure, share, replaced,
        aborted or reset."""
        self.max_blocks = max_blocks
        self.references = references
        self._policy = policy
        self._released = released
        self._pins: dict[str, Pin] = {}  # by session
        self._claims: dict[str, str] = {}  # request id -> session
        self._pin_counts: Counter[int] = Counter()  # by identity of the block: how many pins reference it
        self._reviewed_s = float("-inf")

    def __len__(self) -> int:
        return len(self._pins)

    def __iter__(self) -> Iterator[tuple[str, Pin]]:
        """Session ids and pins."""
        return iter(self._pins.items())

    @property
    def blocks(self) -> int:
        """Pinned blocks; a block that several sessions share counts once."""
        return len(self._pin_counts)

    @property
    def tokens(self) -> int:
        return self.blocks * self.references.block_tokens

    @property
    def running_tokens(self) -> float:
        """KV tokens in use beyond the pinned ones."""
        references = self.references
        used_blocks = references.capacity_blocks - references.free_blocks
        return max(used_blocks * references.block_tokens - self.tokens, 0)

    @property
    def releasable_blocks(self) -> int:
        """Blocks that releasing every pin would free: the pinned ones that no request references. Holds for one group
        of layers, in which a reference on a block implies references on those before it."""
        in_use: set[int] = set()
        for pin in self._pins.values():
            for block in map(id, reversed(pin.blocks[: self._used_blocks(pin.blocks)])):
                if block in in_use:
                    break
                in_use.add(block)
        return self.blocks - len(in_use)

    @property
    def review_due_s(self) -> float:
        """When the next review releases pins at the earliest; infinite without pins."""
        return self._reviewed_s + REVIEW_S if self._pins else float("inf")

    def pin_count(self, block: KVCacheBlock) -> int:
        """How many pins reference the block."""
        return self._pin_counts[id(block)]

    def pin(
        self, session_id: str, request: Request, tokens: int, forecast: Forecast, now_s: float, running_tokens: float
    ) -> bool:
        """Pin the context of a turn that has just finished, before vLLM frees it; False if it is not worth it."""
        self._release(session_id, "replaced")
        count = tokens // self.references.block_tokens
        if not 0 < count <= self.max_blocks or not self._policy.is_worth_pinning(forecast, tokens, running_tokens):
            return False
        waste = self._policy.waste(forecast.pause_s, 0.0, tokens, running_tokens)
        blocks, fits = self.references.hold(request), False
        try:
            fits = self._fit(count, blocks, waste, now_s, running_tokens)
        finally:
            if not fits:
                self.references.release(blocks)
        if not fits:
            return False
        expires_s = now_s + self._policy.time_to_live_s(forecast.pause_s)
        self._pins[session_id] = Pin(blocks, tokens, forecast.pause_s, now_s, expires_s)
        self._pin_counts.update(map(id, blocks))
        if self.blocks > self.max_blocks:  # with several groups of layers there are more blocks than `count`
            self._release(session_id, "share")
            return False
        return True

    def turn_arrived(self, session_id: str, request_id: str, now_s: float) -> None:
        """The session's next turn claims its pin; the blocks stay pinned for it, for a bounded time."""
        pin = self._pins.get(session_id)
        if pin is not None and pin.claimed_by is None:
            pin.claimed_by, pin.expires_s = request_id, now_s + self._policy.longest_wait_s
            self._claims[request_id] = session_id

    def turns_scheduled(self, request_ids: Iterable[str]) -> None:
        """Release what these turns had claimed: they reference the blocks themselves now."""
        if self._claims:
            for request_id in request_ids:
                self._release_claim(request_id, "hit")

    def turn_ended(self, request_id: str) -> None:
        """A turn that ends with its claim was aborted before it was scheduled."""
        self._release_claim(request_id, "aborted")

    def claimed_blocks(self, request_id: str) -> int:
        """Blocks that a waiting turn has claimed. Where its prompt begins with them, it needs no free ones."""
        session_id = self._claims.get(request_id)
        return 0 if session_id is None else len(self._pins[session_id].blocks)

    def review(self, now_s: float, running_tokens: float) -> None:
        """Release pins that have expired or whose waste has become excessive."""
        if 0 <= now_s - self._reviewed_s < REVIEW_S:  # negative if the clock was set back
            return
        self._reviewed_s = now_s
        for session_id, pin in list(self._pins.items()):
            if now_s >= pin.expires_s:
                self._release(session_id, "expired")
            elif self._policy.is_excessive(self._waste(pin, now_s, running_tokens)):
                self._release(session_id, "waste")

    def make_room(
        self, blocks: int, now_s: float, running_tokens: float, spared: Collection[str] = frozenset()
    ) -> None:
        """Release pins, largest waste first, until this many blocks are free.

        Pins claimed by the `spared` requests stay, and so do pins whose blocks are all in use: releasing them frees
        nothing.
        """
        if not self._pins or self.references.free_blocks >= blocks:
            return
        for _, session_id in self._by_waste(now_s, running_tokens):
            pin = self._pins[session_id]
            if pin.claimed_by in spared or not any(map(self._is_unused, reversed(pin.blocks))):
                continue
            self._release(session_id, "pressure")
            if self.references.free_blocks >= blocks:
                return

    def give_up_claim(self, request_id: str) -> None:
        """Release the pin that a waiting turn has claimed, to make room for turns before it."""
        self._release_claim(request_id, "pressure")

    def release_all(self) -> None:
        """Release the blocks of all pins, then report them: a failing report leaves no block pinned. If a release
        fails, the next call continues with the other pins."""
        count = len(self._pins)
        self._claims.clear()
        while self._pins:
            self._release_blocks(self._pins.pop(next(iter(self._pins))))
        for _ in range(count):
            self._released("reset")

    def _fit(self, count: int, blocks: list[KVCacheBlock], waste: float, now_s: float, running_tokens: float) -> bool:
        """Whether a context of `count` blocks fits into `max_blocks`; releases pins of larger waste to make it fit."""
        excess = self.blocks + count - sum(block in self._pin_counts for block in map(id, blocks)) - self.max_blocks
        if excess <= 0:
            return True
        victims: list[str] = []
        own, released = set(map(id, blocks)), Counter[int]()
        for victim_waste, session_id in self._by_waste(now_s, running_tokens):
            if victim_waste <= waste:
                return False
            victims.append(session_id)
            freed = [block for block in map(id, self._pins[session_id].blocks) if block not in own]
            released.update(freed)
            excess -= sum(released[block] == self._pin_counts[block] for block in freed)
            if excess <= 0:
                break
        for session_id in victims:
            self._release(session_id, "share")
        return excess <= 0

    def _by_waste(self, now_s: float, running_tokens: float) -> list[tuple[float, str]]:
        wastes = [(self._waste(pin, now_s, running_tokens), session_id) for session_id, pin in self._pins.items()]
        return sorted(wastes, reverse=True)

    def _waste(self, pin: Pin, now_s: float, running_tokens: float) -> float:
        if pin.claimed_by is not None:
            return 0.0
        return self._policy.waste(pin.pause_s, now_s - pin.start_s, pin.tokens, running_tokens)

    def _release_claim(self, request_id: str, reason: str) -> None:
        if (session_id := self._claims.get(request_id)) is not None:
            self._release(session_id, reason)

    def _release(self, session_id: str, reason: str) -> None:
        pin = self._pins.pop(session_id, None)
        if pin is None:
            return
        if pin.claimed_by is not None:
            self._claims.pop(pin.claimed_by, None)
        self._release_blocks(pin)
        self._released(reason)

    def _release_blocks(self, pin: Pin) -> None:
        for block in map(id, pin.blocks):
            self._pin_counts[block] -= 1
            if not self._pin_counts[block]:
                del self._pin_counts[block]
        self.references.release(pin.blocks)

    def _used_blocks(self, blocks: list[KVCacheBlock]) -> int:
        """Length of the prefix of `blocks` that requests reference too."""
        if not blocks or self._is_unused(blocks[0]):  # the usual and the cheapest case
            return 0
        return bisect_left(blocks, True, key=self._is_unused)

    def _is_unused(self, block: KVCacheBlock) -> bool:
        """Whether nothing but pins references the block."""
        return self.references.count(block) == self.pin_count(block)
