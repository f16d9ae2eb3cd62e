"""The pinned contexts of paused sessions: at most one a session, released by waste, or once they are not worth it."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from ..sessions.live_turn import Forecast
from ..vllm_compat import BlockReferences, KVCacheBlock, Request
from .expiry import Expiry
from .pinned_blocks import PinnedBlocks
from .worth import ContextWorth

UNKNOWN_PAUSE_S = 1.0
"""Expected length of a pause without a forecast."""


@dataclass(slots=True, eq=False)
class Pin:
    """One pinned context: an additional reference on each of its blocks."""

    blocks: list[KVCacheBlock]
    tokens: int
    pause_s: float  # forecast
    start_s: float
    outlasts_s: float  # when keeping it has cost more than computing it again
    tenant: str | None = None
    has_twins: bool = False  # other blocks of the prefix cache had the content of some of these when they were pinned
    claimed_by: str | None = None  # id of the session's next request, while it waits


class Pins:
    """Pins by session."""

    def __init__(self, references: BlockReferences, worth: ContextWorth, released: Callable[[str], None]) -> None:
        """`released` is called with the reason of each release: hit, outlasted, share, pressure, replaced, aborted or
        reset."""
        self.references = references
        self.worth = worth
        self._released = released
        self._pins: dict[str, Pin] = {}  # by session
        self._claims: dict[str, str] = {}  # request id -> session
        self._blocks = PinnedBlocks(references)
        self._tenant_blocks: Counter[str | None] = Counter()  # a block of several sessions counts for each
        self._expiry = Expiry()  # of unclaimed pins

    def __len__(self) -> int:
        return len(self._pins)

    def __contains__(self, session_id: object) -> bool:
        return session_id in self._pins

    def __iter__(self) -> Iterator[tuple[str, Pin]]:
        """Session ids and pins."""
        return iter(self._pins.items())

    @property
    def blocks(self) -> int:
        """Pinned blocks; a block that several sessions share counts once."""
        return len(self._blocks)

    @property
    def tokens(self) -> int:
        return self.blocks * self.references.block_tokens

    @property
    def releasable_blocks(self) -> int:
        """Blocks that releasing every pin would free: the pinned ones that no request references. Holds for one group
        of layers."""
        pins = self._pins.values()
        chains = (pin.blocks for pin in pins if not pin.has_twins)
        return self.blocks - self._blocks.in_use(chains, (pin.blocks for pin in pins if pin.has_twins))

    def next_outlasted_s(self, now_s: float) -> float:
        """When the next pin after `now_s` outlasts its worth; infinite without one."""
        return self._expiry.next_s(now_s)

    def pin_count(self, block: KVCacheBlock) -> int:
        """How many pins reference the block."""
        return self._blocks.pins_of(block)

    def pin(
        self,
        session_id: str,
        request: Request,
        tokens: int,
        forecast: Forecast | None,
        now_s: float,
        tenant: str | None = None,
    ) -> bool:
        """Pin the context of a turn that has just finished, before vLLM frees it.

        False if its session is expected to end, or if nothing of the context is in the prefix cache.
        """
        self._release(session_id, "replaced")
        if not self.worth.continues(forecast):
            return False
        blocks = self.references.hold(request)
        if not blocks:
            return False
        pause_s = UNKNOWN_PAUSE_S if forecast is None else forecast.pause_s
        pin = Pin(blocks, tokens, pause_s, now_s, now_s + self.worth.lasts_s(tokens), tenant)
        self._pins[session_id] = pin
        self._blocks.add(blocks)
        self._tenant_blocks[tenant] += len(blocks)
        self._expiry.add(session_id, pin.outlasts_s)
        pin.has_twins = self.references.have_twins(blocks)  # last: if it fails, the blocks belong to a known pin
        return True

    def turn_arrived(self, session_id: str, request_id: str) -> None:
        """The session's next turn claims its pin; the blocks stay pinned for it."""
        pin = self._pins.get(session_id)
        if pin is not None and pin.claimed_by is None:
            pin.claimed_by = request_id
            self._claims[request_id] = session_id
            self._expiry.discard(session_id, pin.outlasts_s)

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

    def let_go(self, blocks: int, now_s: float, tenant: str | None = None) -> bool:
        """Release contexts for a turn of this tenant: those that have outlasted their worth, the longest ago first,
        then those that other tenants hold beyond an equal share. If all of them together do not free this many blocks,
        release none."""
        reasons = dict.fromkeys(self._expiry.until(now_s), "outlasted")
        if sum(len(self._pins[session_id].blocks) for session_id in reasons) < blocks:
            for session_id in self._beyond_share(tenant, now_s):
                reasons.setdefault(session_id, "share")
        if sum(len(self._pins[session_id].blocks) for session_id in reasons) < blocks:
            return False
        enough = self.references.free_blocks + blocks
        for session_id, reason in reasons.items():
            self._release(session_id, reason)
            if self.references.free_blocks >= enough:
                return True
        return False

    def make_room(self, blocks: int, now_s: float, spared: Collection[str] = frozenset()) -> None:
        """Release pins, largest waste first, until this many blocks are free.

        Pins claimed by the `spared` requests stay, and so do pins whose blocks are all in use: releasing them frees
        nothing.
        """
        if not self._pins or self.references.free_blocks >= blocks:
            return
        for _, session_id in self._by_waste(now_s):
            pin = self._pins[session_id]
            if pin.claimed_by in spared or not any(map(self._blocks.is_unused, reversed(pin.blocks))):
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
        self._expiry.clear()
        while self._pins:
            self._release_blocks(self._pins.pop(next(iter(self._pins))))
        for _ in range(count):
            self._released("reset")

    def _by_waste(self, now_s: float) -> list[tuple[float, str]]:
        wastes = [(self._waste(pin, now_s), session_id) for session_id, pin in self._pins.items()]
        return sorted(wastes, reverse=True)

    def _beyond_share(self, tenant: str | None, now_s: float) -> Iterator[str]:
        """Sessions by which other tenants pin more than an equal share of all pinned blocks, the largest waste first.
        None where this tenant has its share."""
        held = self._tenant_blocks.copy()
        share = held.total() / len(held.keys() | {tenant})
        if held[tenant] >= share:
            return
        for _, session_id in self._by_waste(now_s):
            pin = self._pins[session_id]
            if pin.claimed_by is None and pin.tenant != tenant and held[pin.tenant] - len(pin.blocks) >= share:
                held[pin.tenant] -= len(pin.blocks)
                yield session_id

    def _waste(self, pin: Pin, now_s: float) -> float:
        if pin.claimed_by is not None:
            return 0.0
        return self.worth.waste(pin.pause_s, now_s - pin.start_s, pin.tokens)

    def _release_claim(self, request_id: str, reason: str) -> None:
        if (session_id := self._claims.get(request_id)) is not None:
            self._release(session_id, reason)

    def _release(self, session_id: str, reason: str) -> None:
        pin = self._pins.pop(session_id, None)
        if pin is None:
            return
        if pin.claimed_by is not None:
            self._claims.pop(pin.claimed_by, None)
        self._expiry.discard(session_id, pin.outlasts_s)
        self._release_blocks(pin)
        self._released(reason)

    def _release_blocks(self, pin: Pin) -> None:
        self._tenant_blocks[pin.tenant] -= len(pin.blocks)
        if not self._tenant_blocks[pin.tenant]:
            del self._tenant_blocks[pin.tenant]
        self._blocks.remove(pin.blocks)
        self.references.release(pin.blocks)
