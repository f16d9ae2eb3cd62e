"""Contexts pinned over tool calls, on vLLM's real scheduler: they are reused and never block anything."""

import random

import pytest
from packaging.version import Version
from vllm.config import VllmConfig
from vllm.v1.core.sched.interface import PauseState
from vllm.v1.request import Request, RequestStatus

from augserve.models.serving.settings import Residency, SchedulerSettings
from augserve.runtime import AugServeScheduler
from augserve.runtime.hints.hints import LAST_STEP, TENANT
from augserve.runtime.residency.pins import Pins
from augserve.runtime.vllm_compat import vllm_version

from ..conftest import Engine, EngineMaker, Grammar, Guessing, no_prefix_caching
from ..requests import follow, structured
from .contexts import NOTHING_HEAVY, SLOW_PREFILL, pinning, released


def used_blocks(engine: Engine) -> int:
    pool = engine.scheduler.kv_cache_manager.block_pool
    return pool.num_gpu_blocks - 1 - pool.get_num_free_blocks()


def test_a_finished_turn_pins_its_context_for_the_next(make_engine: EngineMaker) -> None:
    engine, pins = pinning(make_engine)
    first = engine.add(1, 400, 20, "s")
    engine.drain()
    assert used_blocks(engine) == pins.blocks == 419 // 16
    grown = follow(engine, first)
    engine.step()
    assert released(engine, "hit") == 1
    engine.drain()
    stats = [each.prefill_stats for each in engine.outputs if each.request_id == grown.request_id]
    assert stats[0].num_cached_tokens == 16 * (419 // 16)
    assert engine.scheduler.reset_prefix_cache()
    engine.assert_nothing_is_left()


def test_another_tenant_s_turn_with_the_same_session_id_leaves_the_context_alone(make_engine: EngineMaker) -> None:
    engine, pins = pinning(make_engine)
    engine.add(1, 400, 20, "s", extra_args={TENANT: "a"})
    engine.drain()
    kept = pins.blocks
    engine.add(2, 40, 2, "s", extra_args={TENANT: "b"})
    assert isinstance(engine.scheduler, AugServeScheduler)
    assert engine.scheduler.lifecycle.turns["r2"].turn == 0
    engine.drain()
    assert released(engine, "hit") == 0
    assert pins.blocks >= kept > 0


def test_a_turn_that_its_caller_calls_the_last_is_not_pinned(make_engine: EngineMaker) -> None:
    engine, pins = pinning(make_engine)
    for number, last in enumerate((True, False, "no")):
        engine.add(number, 400, 5, f"s{number}", extra_args={LAST_STEP: last})
    engine.drain()
    assert {session for session, _ in pins} == {"s1", "s2"}


def test_a_pinned_context_is_not_evicted(make_engine: EngineMaker) -> None:
    engine, pins = pinning(make_engine)
    first = engine.add(1, 2000, 5, "s")
    engine.drain()
    for number in range(2, 12):  # more than fits into the cache, of sessions that end
        engine.scheduler.predictor.answer = (1.0, 1.0, 1.0)  # type: ignore[attr-defined]
        engine.add(number, 2000, 5, f"s{number}")
        engine.drain()
    assert len(pins) == 1
    assert isinstance(engine.scheduler, AugServeScheduler)
    assert engine.scheduler.decisions.engine.kv_cache.cached_tokens(first) >= 1984


def test_pins_are_released_before_anything_waits_or_is_preempted(make_engine: EngineMaker) -> None:
    engine, pins = pinning(make_engine, kv_tokens=4_096)
    for number in range(3):
        engine.add(number, 600, 5, f"s{number}")
        engine.drain()
    assert pins.blocks > 70
    large = engine.add(9, 3900, 5, "large")
    engine.step()
    assert large.status == RequestStatus.RUNNING
    assert released(engine, "pressure") > 0
    engine.drain()
    assert large.num_preemptions == 0


def test_no_pin_is_released_for_a_turn_beyond_max_num_seqs(make_engine: EngineMaker) -> None:
    """A waiting turn gets room once a running one has ended."""
    engine, pins = pinning(make_engine, kv_tokens=4_096, max_num_seqs=1)
    engine.add(0, 1200, 5, "s0")
    engine.drain()
    running = engine.add(1, 100, 20, "s1")
    engine.step()
    large = engine.add(2, 3000, 5, "large")
    engine.step()
    assert (len(pins), large.status) == (1, RequestStatus.WAITING)
    engine.drain_until(lambda: running.is_finished())
    engine.step()
    assert large.status == RequestStatus.RUNNING
    assert released(engine, "pressure") >= 1
    engine.drain()


def few_active(config: VllmConfig) -> None:
    """`--max-num-active-seqs 1`"""
    config.scheduler_config.max_num_active_seqs = 1


@pytest.mark.skipif(Version(vllm_version) < Version("0.32"), reason="vLLM limits running requests alone")
@pytest.mark.parametrize("streaming", [False, True])
def test_no_pin_is_released_for_a_turn_beyond_vllm_s_limit_on_active_ones(
    make_engine: EngineMaker, streaming: bool
) -> None:
    """The only seat is taken by a running turn, or by a streaming session that waits for its next input."""
    engine, pins = pinning(make_engine, kv_tokens=4_096, max_num_seqs=8, change=few_active)
    engine.add(0, 1200, 5, "s0")
    engine.drain()
    engine.add(1, 100, 2 if streaming else 200, "s1", resumable=streaming)
    for _ in range(6):
        engine.step()
    large = engine.add(2, 3000, 5, "large")
    for _ in range(3):
        engine.step()
    assert (len(pins), large.status) == (1, RequestStatus.WAITING)


def test_without_prefix_caching_nothing_is_pinned_or_held(make_engine: EngineMaker) -> None:
    settings = SchedulerSettings(step_time=SLOW_PREFILL, residency=Residency(heavy_s=1.0, share=0.1))
    engine, pins = pinning(make_engine, change=no_prefix_caching, settings=settings)
    for number in range(40):
        engine.add(number, 200, 5, f"s{number}")
        engine.step()
        assert not pins
        assert engine.scheduler.engine.metrics.value("held_turns") == 0  # type: ignore[attr-defined]
    engine.drain()
    engine.assert_nothing_is_left()


def test_pinned_contexts_do_not_count_as_usage(make_engine: EngineMaker) -> None:
    engine, pins = pinning(make_engine, log_stats=True)
    engine.add(1, 4000, 5, "s1")
    engine.step()
    engine.step()
    running = engine.scheduler.get_kv_cache_usage()
    assert running == pytest.approx(251 / 1023, abs=0.01)
    engine.drain()
    engine.clock.now_s += 1.0
    stats = engine.scheduler.make_stats()
    assert pins.blocks == 250
    assert stats is not None
    assert (stats.kv_cache_usage, engine.scheduler.get_kv_cache_usage()) == (0.0, 0.0)


@pytest.mark.parametrize("kv_tokens", [4_096, 8_192])
def test_a_tiny_cache_never_stalls_and_leaks_nothing(make_engine: EngineMaker, kv_tokens: int) -> None:
    engine, pins = pinning(make_engine, kv_tokens=kv_tokens, predictor=Guessing())
    rnd = random.Random(kv_tokens)
    requests: list[Request] = []
    for number in range(150):
        requests.append(engine.add(number, rnd.randint(2, 3000), rnd.randint(1, 80), f"s{rnd.randrange(40)}"))
        for _ in range(rnd.randrange(6)):
            engine.step()
        if number % 10 == 9:
            victim = rnd.choice(requests)
            engine.scheduler.finish_requests(victim.request_id, RequestStatus.FINISHED_ABORTED)
    engine.drain()
    assert sum(request.status == RequestStatus.FINISHED_ABORTED for request in requests) + len(
        engine.finished()
    ) == len(requests)
    assert used_blocks(engine) <= pins.blocks
    pins.release_all()
    engine.assert_nothing_is_left()


def test_a_reset_a_pause_and_a_shutdown_release_every_pin(make_engine: EngineMaker) -> None:
    engine, pins = pinning(make_engine)
    for number, release in enumerate(
        (
            engine.scheduler.reset_prefix_cache,
            lambda: engine.scheduler.set_pause_state(PauseState.PAUSED_ALL),
            engine.scheduler.shutdown,
        )
    ):
        engine.scheduler.set_pause_state(PauseState.UNPAUSED)
        engine.add(number, 400, 5, f"s{number}")
        engine.drain()
        assert len(pins) == 1
        release()
        assert used_blocks(engine) == len(pins) == 0


def test_an_error_in_the_policy_releases_every_pin_and_is_counted(
    make_engine: EngineMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, pins = pinning(make_engine)
    engine.add(1, 400, 5, "s1")
    engine.drain()
    assert len(pins) == 1

    def broken(*_: object) -> None:
        raise RuntimeError("the policy is broken")

    monkeypatch.setattr(Pins, "pin", broken)
    engine.add(2, 400, 5, "s2")
    engine.drain()
    engine.assert_nothing_is_left()
    assert isinstance(engine.scheduler, AugServeScheduler)
    assert engine.scheduler.engine.metrics.value("fallbacks", reason="context") == 1


def test_a_paused_streaming_session_keeps_its_blocks_and_pins_are_released_for_it(
    make_engine: EngineMaker,
) -> None:
    engine, pins = pinning(make_engine, kv_tokens=4_096)
    session = engine.add(1, 600, 5, "stream", resumable=True)
    engine.drain_until(lambda: session.status == RequestStatus.WAITING_FOR_STREAMING_REQ)
    held = used_blocks(engine)
    assert held >= 600 // 16
    assert not pins, "vLLM itself references the blocks between its inputs"
    assert "r1" in engine.scheduler.lifecycle.turns, "the turn goes on"  # type: ignore[attr-defined]
    for number in range(2, 4):
        engine.add(number, 600, 5, f"s{number}")
        engine.drain_until(lambda: not engine.scheduler.running)
    assert used_blocks(engine) > held, "others are pinned too"
    large = engine.add(9, 3000, 5, "large")
    engine.step()
    assert large.status == RequestStatus.RUNNING
    assert released(engine, "pressure") > 0
    engine.drain_until(lambda: not engine.scheduler.running)
    engine.add(1, 50, 5, "stream", resumable=True)
    engine.step()
    assert engine.scheduled[-1]["r1"] < 60, "its context is not computed again"
    engine.drain_until(lambda: session.status == RequestStatus.WAITING_FOR_STREAMING_REQ)
    engine.add(1, 1, 1, "stream")  # the last input
    engine.drain()
    assert session.is_finished()
    assert used_blocks(engine) == pins.blocks


def test_a_streaming_session_that_ends_while_it_decodes_pins_its_context(
    make_engine: EngineMaker,
) -> None:
    engine, pins = pinning(make_engine)
    session = engine.add(1, 400, 20, "s", resumable=True)
    engine.step()
    engine.add(1, 1, 1, "s")  # the last input, while it still decodes
    engine.drain()
    assert used_blocks(engine) == pins.blocks > 400 // 16 - 1
    follow(engine, session)
    engine.step()
    assert released(engine, "hit") == 1
    engine.drain()


def test_a_turn_that_waits_for_its_grammar_releases_no_pin(make_engine: EngineMaker) -> None:
    """An engine that is idle for lack of a grammar does not lack blocks."""
    engine, pins = pinning(make_engine)
    engine.add(1, 400, 5, "s1")
    engine.drain()
    _, compiled = structured(engine, 2)
    for _ in range(4):
        engine.step()
    assert not engine.scheduler.running
    assert (len(pins), released(engine, "reset")) == (1, 0)
    compiled.set_result(Grammar())
    engine.drain()
    assert engine.finished() == {"r1": 5, "r2": 5}


@pytest.mark.parametrize("streaming", [False, True])
def test_an_engine_that_would_stall_releases_every_pin(
    make_engine: EngineMaker, monkeypatch: pytest.MonkeyPatch, streaming: bool
) -> None:
    """Even if the demand of the first turns was miscounted; a streaming session's next input waits in another queue."""
    engine, pins = pinning(make_engine, kv_tokens=4_096)
    if streaming:
        session = engine.add(9, 300, 5, "stream", resumable=True)
        engine.drain_until(lambda: session.status == RequestStatus.WAITING_FOR_STREAMING_REQ)
    for number in range(3):
        engine.add(number, 600, 5, f"s{number}")
        engine.drain_until(lambda: not engine.scheduler.running)
    assert len(pins) > 1
    monkeypatch.setattr(Pins, "make_room", lambda *_: None)
    engine.add(9, 3300, 5, "stream", resumable=streaming)
    for _ in range(3):
        engine.step()
    assert engine.scheduled[-1]["r9"]
    assert not pins


def test_free_room_is_what_releasing_every_pin_leaves(make_engine: EngineMaker) -> None:
    """Pinned contexts share a prefix, and running turns begin with some or all of it."""
    engine, pins = pinning(make_engine)
    for number in range(4):
        engine.add(number, 800, 5, f"s{number}")
        engine.drain()
    for number, prompt in ((4, 800), (5, 500)):
        engine.add(number, prompt, 500, "running")
        engine.step()
    ordering = engine.scheduler.decisions.ordering  # type: ignore[attr-defined]
    room, pinned, free = ordering.room.blocks(), pins.blocks, engine.scheduler.decisions.engine.kv_cache.free_blocks  # type: ignore[attr-defined]
    pins.release_all()
    assert free < engine.scheduler.decisions.engine.kv_cache.free_blocks < free + pinned  # type: ignore[attr-defined]
    assert ordering.room.blocks() == room


@pytest.mark.parametrize("mode", ["shadow", "observe"])
def test_other_modes_pin_nothing(make_engine: EngineMaker, mode: str) -> None:
    engine = make_engine(mode=mode, settings=NOTHING_HEAVY)
    engine.add(1, 400, 5, "s1")
    engine.drain()
    assert used_blocks(engine) == 0
    engine.assert_nothing_is_left()
