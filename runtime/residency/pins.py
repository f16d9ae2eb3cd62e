"""The paused contexts whose blocks are kept: at most one a session, bounded in all, and the first to give way."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from ..sessions.live_turn import Forecast
from .policy import ContextPolicy

REVIEW_S = 0.25
"""Pins are judged anew no more often than this."""


class References(Protocol):
    """References on blocks of the KV cache; see vllm_compat.BlockReferences."""

    @property
    def free_blocks(self) -> int: ...

    @property
    def capacity_blocks(self) -> int: ...

    @property
    def block_tokens(self) -> int: ...

    def hold(self, request: Any) -> list[Any]:
        """Take one more reference on each cached block of the request; gives these blocks."""
        ...

    def release(self, blocks: list[Any]) -> None: ...

    def count(self, block: Any) -> int:
        """How often the block is referenced, by requests and by what `hold` took."""
        ...


@dataclass(slots=True, eq=False)
class Pin:
    """A context that is kept. `claimed_by`: the session's next turn, once it waits."""

    blocks: list[Any]
    tokens: int
    pause_s: float  # forecast
    start_s: float
    expires_s: float
    claimed_by: str | None = None


class Pins:
    """`released` is called with the reason for each pin that goes: hit, expired, waste, pressure, share, replaced,
    aborted or reset."""

    def __init__(
        self, references: References, policy: ContextPolicy, wait_s: float, released: Callable[[str], None]
    ) -> None:
        """`wait_s`: how long blocks are kept for a turn that has arrived and is not scheduled."""
        self._references = references
        self._policy = policy
        self._wait_s = wait_s
        self._released = released
        self._pins: dict[str, Pin] = {}  # by session
        self._claims: dict[str, str] = {}  # request id -> session
        self._sharers: Counter[int] = Counter()  # by a block's identity: how many pins hold it
        self._max_blocks = policy.share(references.capacity_blocks)
        self._reviewed_s = float("-inf")

    def __len__(self) -> int:
        return len(self._pins)

    @property
    def blocks(self) -> int:
        """Blocks that are kept; sessions that begin alike share some, which count once."""
        return len(self._sharers)

    @property
    def tokens(self) -> int:
        return self.blocks * self._references.block_tokens

    @property
    def releasable_blocks(self) -> int:
        """Blocks that would be free if all were let go: those that no request holds beside. With one group of layers,
        in which who holds a block holds those before it."""
        held: set[int] = set()
        for pin in self._pins.values():
            for block in map(id, reversed(pin.blocks[: self._held(pin.blocks)])):
                if block in held:
                    break
                held.add(block)
        return self.blocks - len(held)

    def times_kept(self, block: Any) -> int:
        """How many of the contexts that are kept hold the block."""
        return self._sharers[id(block)]

    def keep(
        self, session_id: str, request: Any, tokens: int, forecast: Forecast, now_s: float, running: float
    ) -> bool:
        """Decide on the context of a turn that has just finished, before vLLM lets go of it; whether it is kept."""
        self._drop(session_id, "replaced")
        count = tokens // self._references.block_tokens
        if not count or count > self._max_blocks or not self._policy.preserves(forecast, tokens, running):
            return False
        waste = self._policy.waste(forecast.pause_s, 0.0, tokens, running)
        blocks, kept = self._references.hold(request), False
        try:
            kept = self._yields(count, blocks, waste, now_s, running)
        finally:
            if not kept:
                self._references.release(blocks)
        if not kept:
            return False
        expires_s = now_s + self._policy.time_to_live_s(forecast.pause_s)
        self._pins[session_id] = Pin(blocks, tokens, forecast.pause_s, now_s, expires_s)
        self._sharers.update(map(id, blocks))
        if self.blocks > self._max_blocks:  # more blocks than tokens tell: several groups of layers
            self._drop(session_id, "share")
            return False
        return True

    def turn_arrived(self, session_id: str, request_id: str, now_s: float) -> None:
        """The pause is over: keep the blocks for this turn, for a bounded time."""
        pin = self._pins.get(session_id)
        if pin is not None and pin.claimed_by is None:
            pin.claimed_by, pin.expires_s = request_id, now_s + self._wait_s
            self._claims[request_id] = session_id

    def turns_scheduled(self, request_ids: Iterable[str]) -> None:
        """Their own references hold the blocks now."""
        if self._claims:
            for request_id in request_ids:
                if (session_id := self._claims.get(request_id)) is not None:
                    self._drop(session_id, "hit")

    def turn_ended(self, request_id: str) -> None:
        """A turn that ends unscheduled was aborted."""
        if (session_id := self._claims.get(request_id)) is not None:
            self._drop(session_id, "aborted")

    def claimed_blocks(self, request_id: str) -> int:
        """Blocks kept for a turn that waits: as far as its prompt begins with them, it needs no free ones for them."""
        session_id = self._claims.get(request_id)
        return 0 if session_id is None else len(self._pins[session_id].blocks)

    def review(self, now_s: float, running_tokens: float) -> None:
        """Let go of what has outlived its time, and of what is no longer worth its memory."""
        if 0 <= now_s - self._reviewed_s < REVIEW_S:  # below 0: the clock was set back
            return
        self._reviewed_s = now_s
        for session_id, pin in list(self._pins.items()):
            if now_s >= pin.expires_s:
                self._drop(session_id, "expired")
            elif self._policy.wastes(self._waste(pin, now_s, running_tokens)):
                self._drop(session_id, "waste")

    def make_room(
        self, blocks: int, now_s: float, running_tokens: float, spared: Collection[str] = frozenset()
    ) -> None:
        """Let go, largest waste first, until so many blocks are free or there is nothing left but what the `spared`
        turns have claimed, and contexts of which requests hold every block: in nobody's way."""
        if not self._pins or self._references.free_blocks >= blocks:
            return
        for _, session_id in self._by_waste(now_s, running_tokens):
            pin = self._pins[session_id]
            if pin.claimed_by in spared or not any(map(self._only_kept, reversed(pin.blocks))):
                continue
            self._drop(session_id, "pressure")
            if self._references.free_blocks >= blocks:
                return

    def give_up(self, request_id: str) -> None:
        """Let go of what is kept for a turn that waits: others need the room more."""
        if (session_id := self._claims.get(request_id)) is not None:
            self._drop(session_id, "pressure")

    def release_all(self) -> None:
        """Blocks first, all of them: what fails afterwards keeps none back. Where letting go itself fails, the others
        are there for the next try."""
        count = len(self._pins)
        self._claims.clear()
        while self._pins:
            self._let_go(self._pins.pop(next(iter(self._pins))))
        for _ in range(count):
            self._released("reset")

    def _yields(self, count: int, blocks: list[Any], waste: float, now_s: float, running_tokens: float) -> bool:
        """Whether a context of so many blocks, these, may be kept beside the others; pins of more waste give way."""
        excess = self.blocks + count - self._shared(blocks) - self._max_blocks
        if excess <= 0:
            return True
        victims: list[str] = []
        own, let_go = set(map(id, blocks)), Counter[int]()
        for worse, session_id in self._by_waste(now_s, running_tokens):
            if worse <= waste:
                return False
            victims.append(session_id)
            victim = [block for block in map(id, self._pins[session_id].blocks) if block not in own]
            let_go.update(victim)
            excess -= sum(let_go[block] == self._sharers[block] for block in victim)
            if excess <= 0:
                break
        for session_id in victims:
            self._drop(session_id, "share")
        return excess <= 0

    def _by_waste(self, now_s: float, running_tokens: float) -> list[tuple[float, str]]:
        wastes = [(self._waste(pin, now_s, running_tokens), session_id) for session_id, pin in self._pins.items()]
        return sorted(wastes, reverse=True)

    def _waste(self, pin: Pin, now_s: float, running_tokens: float) -> float:
        if pin.claimed_by is not None:
            return 0.0
        return self._policy.waste(pin.pause_s, now_s - pin.start_s, pin.tokens, running_tokens)

    def _drop(self, session_id: str, reason: str) -> None:
        pin = self._pins.pop(session_id, None)
        if pin is None:
            return
        if pin.claimed_by is not None:
            self._claims.pop(pin.claimed_by, None)
        self._let_go(pin)
        self._released(reason)

    def _shared(self, blocks: list[Any]) -> int:
        """Blocks among these that are kept already."""
        return sum(block in self._sharers for block in map(id, blocks))

    def _held(self, blocks: list[Any]) -> int:
        """Of a context's blocks, the first so many are held by requests too."""
        if not blocks or self._only_kept(blocks[0]):  # nearly always, and most cheaply
            return 0
        return bisect_left(blocks, True, key=self._only_kept)

    def _only_kept(self, block: Any) -> bool:
        return self._references.count(block) == self.times_kept(block)

    def _let_go(self, pin: Pin) -> None:
        for block in map(id, pin.blocks):
            self._sharers[block] -= 1
            if not self._sharers[block]:
                del self._sharers[block]
        self._references.release(pin.blocks)
