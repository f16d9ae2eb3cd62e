from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import settings as run
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from augserve.models.serving.settings import SchedulerSettings, StepTime
from augserve.runtime.residency.pins import Pins
from augserve.runtime.residency.worth import ContextWorth
from augserve.runtime.sessions.live_turn import Forecast

CAPACITY = 100
SETTINGS = SchedulerSettings(step_time=StepTime(base_s=0.0, per_prefill_token_s=0.01))
LASTS_S = 16.0
"""CAPACITY blocks of 16 tokens at 0.01 s: how long any context is worth keeping."""


@dataclass
class Cache:
    """Counted references; a request is the list of its blocks."""

    block_tokens: int = 16
    capacity_blocks: int = CAPACITY
    references: Counter[int] = field(default_factory=Counter)
    twins: set[int] = field(default_factory=set)
    """Blocks whose content another block has."""

    @property
    def free_blocks(self) -> int:
        return CAPACITY - sum(count > 0 for count in self.references.values())

    def hold(self, request: list[int]) -> list[int]:
        self.references.update(request)
        return list(request)

    def count(self, block: int) -> int:
        return self.references[block]

    def have_twins(self, blocks: list[int]) -> bool:
        return any(block in self.twins for block in blocks)

    def release(self, blocks: list[int]) -> None:
        self.references.subtract(blocks)
        assert min(self.references.values()) >= 0


def make() -> tuple[Pins, Cache, Counter[str]]:
    cache, released = Cache(), Counter[str]()
    return Pins(cache, ContextWorth(SETTINGS, 16 * CAPACITY), lambda reason: released.update([reason])), cache, released


def pin(
    pins: Pins, name: str, blocks: range, pause_s: float = 1.0, now_s: float = 0.0, tenant: str | None = None
) -> bool:
    return pins.pin(name, list(blocks), 16 * len(blocks), Forecast(1.0, 3.0, pause_s), now_s, tenant)


def test_contexts_that_outlasted_their_worth_go_the_longest_ago_first_and_no_more_than_needed() -> None:
    pins, cache, released = make()
    for number in range(3):
        pin(pins, str(number), range(10 * number, 10 * number + 10), now_s=float(number))
    assert pins.next_outlasted_s(0.0) == LASTS_S
    assert pins.let_go(15, LASTS_S + 1.0)
    assert set(cache.references.elements()) == set(range(20, 30))
    assert released == {"outlasted": 2}


def test_nothing_goes_if_all_that_outlasted_would_not_be_enough() -> None:
    pins, _, released = make()
    pin(pins, "a", range(10))
    pin(pins, "b", range(10, 20), now_s=1.0)
    assert not pins.let_go(15, LASTS_S + 0.5)
    assert (len(pins), released) == (2, {})


def test_what_a_tenant_pins_beyond_an_equal_share_makes_way_for_another_tenant() -> None:
    pins, cache, released = make()
    for number in range(8):
        pin(pins, str(number), range(10 * number, 10 * number + 10), pause_s=float(number), tenant="a")
    assert not pins.let_go(10, 1.0, "a"), "its own newcomers wait"
    assert not pins.let_go(41, 1.0, "b"), "half of what is pinned stays"
    assert not released
    assert pins.let_go(20, 1.0, "b")
    assert released == {"share": 2}
    assert set(cache.references.elements()) == set(range(60)), "the longest pauses have gone"
    pin(pins, "mine", range(60, 100), tenant="b")
    assert not pins.let_go(20, 1.0, "b"), "it has more than half itself"
    assert pins.let_go(10, 1.0, None)


def test_claimed_contexts_and_small_shares_stay_with_their_tenant() -> None:
    pins, _, _ = make()
    pin(pins, "claimed", range(40), tenant="a")
    pins.turn_arrived("claimed", "r1")
    pin(pins, "small", range(40, 50), tenant="b")
    assert not pins.let_go(1, 1.0, "c")


def test_a_claimed_context_does_not_outlast_its_worth() -> None:
    pins, _, _ = make()
    pin(pins, "a", range(10))
    pins.turn_arrived("a", "r1")
    assert not pins.let_go(1, 1000.0)
    assert pins.next_outlasted_s(0.0) == float("inf")


def test_an_ending_session_is_not_pinned() -> None:
    pins, cache, _ = make()
    assert not pins.pin("a", list(range(10)), 160, Forecast(1.0, 1.0, 1.0), 0.0)
    assert cache.free_blocks == CAPACITY


def test_the_pin_is_released_when_the_next_turn_is_scheduled() -> None:
    pins, cache, released = make()
    pin(pins, "a", range(10))
    pins.turn_arrived("a", "r1")
    assert pins.claimed_blocks("r1") == 10
    pins.turns_scheduled(["r0"])
    assert len(pins) == 1
    pins.turns_scheduled(["r1"])
    assert (cache.free_blocks, pins.claimed_blocks("r1"), released) == (100, 0, {"hit": 1})


def test_an_aborted_next_turn_releases_its_claim() -> None:
    pins, cache, released = make()
    pin(pins, "a", range(10))
    pins.turn_arrived("a", "r1")
    pins.turn_ended("r1")
    assert (cache.free_blocks, released) == (100, {"aborted": 1})


def test_under_pressure_the_largest_waste_is_released_first_and_no_more_than_needed() -> None:
    pins, cache, released = make()
    for number, pause_s in enumerate((1.0, 9.0, 5.0)):
        pin(pins, str(number), range(10 * number, 10 * number + 10), pause_s)
    pins.turn_arrived("2", "waits")  # claimed: the last to be released
    pins.make_room(75, 0.0)
    assert set(cache.references.elements()) == {*range(10), *range(20, 30)}
    pins.make_room(85, 0.0)
    assert set(cache.references.elements()) == set(range(20, 30))
    assert released == {"pressure": 2}


def test_shared_blocks_count_once() -> None:
    """Two sessions share the thirty blocks of a long prompt and have three blocks of their own."""
    pins, cache, released = make()
    for name, own in (("a", range(30, 33)), ("b", range(33, 36))):
        forecast = Forecast(1.0, 3.0, 1.0)
        assert pins.pin(name, [*range(30), *own], 16 * 33, forecast, 0.0)
    assert (len(pins), pins.blocks, cache.free_blocks) == (2, 36, CAPACITY - 36)
    pins.turn_arrived("a", "r")
    pins.turns_scheduled(["r"])
    assert (len(pins), pins.blocks, released) == (1, 33, {"hit": 1})


def test_sessions_that_share_blocks_make_room_together() -> None:
    """The shared thirty blocks become free only when both pins are released."""
    pins, cache, released = make()
    for name, own in (("a", range(30, 33)), ("b", range(33, 36))):
        assert pins.pin(name, [*range(30), *own], 16 * 33, Forecast(1.0, 3.0, 9.0), 0.0)
    pins.make_room(80, 0.0)
    assert (len(pins), cache.free_blocks, released) == (0, CAPACITY, {"pressure": 2})


def test_blocks_in_use_by_requests_are_not_releasable() -> None:
    """Two pinned sessions share a prefix, and a running request references its first twenty blocks."""
    pins, cache, _ = make()
    for name, own in (("a", range(24, 30)), ("b", range(30, 33)), ("alone", range(40, 45))):
        blocks = [*range(0 if name != "alone" else 40, 24 if name != "alone" else 40), *own]
        assert pins.pin(name, blocks, 16 * len(blocks), Forecast(1.0, 3.0, 1.0), 0.0)
    assert pins.releasable_blocks == pins.blocks == 38
    running = cache.hold([*range(20), 90])
    before = cache.free_blocks
    assert pins.releasable_blocks == 18
    pins.release_all()
    assert cache.free_blocks == before + 18
    cache.release(running)


def test_a_request_may_use_a_pinned_block_and_twins_of_the_blocks_before_it() -> None:
    pins, cache, _ = make()
    pin(pins, "plain", range(20))
    cache.twins = {30, 31}
    assert pins.pin("twins", [*range(10), *range(30, 40)], 320, Forecast(1.0, 3.0, 1.0), 0.0)
    cache.hold([80, 81, *range(32, 40)])
    assert (pins.blocks, pins.releasable_blocks) == (30, 22)


def test_a_failed_look_for_twins_leaves_no_block_that_a_release_of_all_would_miss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pins, cache, _ = make()

    def fails(blocks: list[int]) -> bool:
        raise RuntimeError("broken")

    monkeypatch.setattr(cache, "have_twins", fails)
    with pytest.raises(RuntimeError):
        pin(pins, "a", range(10))
    pins.release_all()
    assert (len(pins), pins.blocks, cache.free_blocks) == (0, 0, CAPACITY)


def test_after_a_failed_release_the_next_call_releases_the_other_pins(monkeypatch: pytest.MonkeyPatch) -> None:
    pins, cache, _ = make()
    for number in range(3):
        pin(pins, str(number), range(10 * number, 10 * number + 10))
    release, failures = cache.release, iter([True])

    def fails_once(blocks: list[int]) -> None:
        release(blocks)
        if next(failures, False):
            raise RuntimeError("broken")

    monkeypatch.setattr(cache, "release", fails_once)
    with pytest.raises(RuntimeError):
        pins.release_all()
    pins.release_all()
    assert (len(pins), pins.blocks, cache.free_blocks) == (0, 0, CAPACITY)


SESSIONS = st.sampled_from("abcdef")


class Machine(RuleBasedStateMachine):
    """Whatever happens, the pinned blocks are the referenced ones, and only referenced blocks are released."""

    def __init__(self) -> None:
        super().__init__()
        self.pins, self.cache, _ = make()
        self.now_s = 0.0

    @rule(session=SESSIONS, first=st.integers(0, 80), count=st.integers(0, 60), pause_s=st.floats(0.0, 50.0))
    def finish(self, session: str, first: int, count: int, pause_s: float) -> None:
        pin(self.pins, session, range(first, min(first + count, CAPACITY)), pause_s, self.now_s)

    @rule(session=SESSIONS)
    def arrive(self, session: str) -> None:
        self.pins.turn_arrived(session, f"r{session}")

    @rule(session=SESSIONS, scheduled=st.booleans())
    def start(self, session: str, scheduled: bool) -> None:
        if scheduled:
            self.pins.turns_scheduled([f"r{session}"])
        else:
            self.pins.turn_ended(f"r{session}")
        assert self.pins.claimed_blocks(f"r{session}") == 0

    @rule(seconds=st.floats(0.0, 30.0))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(blocks=st.integers(0, CAPACITY))
    def need(self, blocks: int) -> None:
        self.pins.make_room(blocks, self.now_s)
        assert self.cache.free_blocks >= blocks or not self.pins

    @rule(blocks=st.integers(1, CAPACITY))
    def let_go(self, blocks: int) -> None:
        before = self.cache.free_blocks
        if self.pins.let_go(blocks, self.now_s):
            assert self.cache.free_blocks >= before + blocks
        assert self.cache.free_blocks >= before

    @precondition(lambda self: len(self.pins) > 0)
    @rule()
    def reset(self) -> None:
        self.pins.release_all()
        assert self.cache.free_blocks == CAPACITY

    @invariant()
    def pinned_blocks_are_referenced(self) -> None:
        assert self.pins.blocks == CAPACITY - self.cache.free_blocks
        assert self.pins.tokens == 16 * self.pins.blocks


TestAnyOrder = Machine.TestCase
TestAnyOrder.settings = run(max_examples=60, stateful_step_count=30)
