"""Admission of heavy cold turns on vLLM's real scheduler: who waits, who does not, and that nothing waits for ever."""

import itertools
from concurrent.futures import Future

import pytest
from vllm.lora.request import LoRARequest
from vllm.v1.core.sched.interface import PauseState
from vllm.v1.request import Request, RequestStatus

from augserve.models.serving.settings import Residency, SchedulerSettings
from augserve.runtime.hints.hints import PARENT, TENANT
from augserve.runtime.residency.pins import Pins

from ..conftest import Engine, EngineMaker, Grammar, TestedScheduler, by_priority, one_lora
from ..requests import follow, running
from .contexts import ADMITTING, CACHE, STEP, held, pinning, released


def test_turns_of_a_server_whose_clock_is_behind_are_served_alike(make_engine: EngineMaker) -> None:
    """More load than the engine can serve, from two API servers; the clock of one is 2 s behind."""
    engine = make_engine(kv_tokens=65_536, max_num_seqs=8)
    turns: dict[int, list[Request]] = {0: [], 1: []}
    for number in range(400):
        server = number % 2
        turns[server].append(
            engine.add(number, 200, 10, client_index=server, arrival_s=engine.clock.now_s - 2.0 * server)
        )
        engine.step()
    in_step, behind = (sum(each.num_output_tokens > 0 for each in turns[server]) for server in (0, 1))
    assert behind == pytest.approx(in_step, rel=0.2)


def test_a_low_priority_does_not_use_up_the_bound_on_waits_of_a_higher_one(make_engine: EngineMaker) -> None:
    """A stream of small turns of priority 0, one old large turn of priority 5, and one large turn of priority 0."""
    settings = SchedulerSettings(max_wait_s=2.0)
    engine = make_engine(change=by_priority, kv_tokens=65_536, max_num_seqs=8, settings=settings)
    for number in range(100, 108):
        engine.add(number, 40, 3)
    engine.step()
    old = engine.add(0, 3000, 5, priority=5)
    large = engine.add(1, 3000, 5, priority=0)
    numbers = itertools.count(1000)
    while large.status == RequestStatus.WAITING and engine.clock.now_s < large.arrival_time + 4.0:
        while len(engine.scheduler.waiting) < 42:
            engine.add(next(numbers), 40, 3)
        engine.step()
    assert (old.status, large.status) == (RequestStatus.WAITING, RequestStatus.RUNNING)
    assert engine.clock.now_s - large.arrival_time < 2.5


def test_a_turn_that_cannot_run_yet_does_not_use_up_the_bound_on_waits(make_engine: EngineMaker) -> None:
    """The oldest turns lack a grammar and a slot for an adapter; a stream of small turns can run."""
    settings = SchedulerSettings(max_wait_s=2.0)
    engine = make_engine(change=one_lora, kv_tokens=65_536, max_num_seqs=8, settings=settings)
    engine.add(100, 40, 2000, lora_request=LoRARequest("one", 1, "/nowhere"))
    engine.step()
    waiting = [engine.add(0, 3000, 5, structured=True), engine.add(1, 3000, 5, lora_request=LoRARequest("two", 2, "/"))]
    waits = waiting[0].structured_output_request
    assert waits is not None
    waits.grammar = compiled = Future()
    engine.step()
    large = engine.add(2, 3000, 5)
    numbers = itertools.count(1000)
    while large.status == RequestStatus.WAITING and engine.clock.now_s < large.arrival_time + 4.0:
        while len(engine.scheduler.waiting) < 42:
            engine.add(next(numbers), 40, 3)
        engine.step()
    assert engine.clock.now_s - large.arrival_time < 2.5
    assert not any(request.num_computed_tokens for request in waiting)
    compiled.set_result(Grammar())
    while not waiting[0].num_computed_tokens and engine.clock.now_s < large.arrival_time + 8.0:
        engine.step()
    assert waiting[0].num_computed_tokens


def paused_and_running(make_engine: EngineMaker, paused: int, runs: int) -> tuple[Engine, Pins, Request]:
    """Session s1 has paused with a context of `paused` tokens, and a turn of `runs` tokens runs."""
    engine, pins = pinning(make_engine, **CACHE)
    engine.add(1, paused, 5, "s1", cache_salt="s1")
    engine.drain()
    return engine, pins, running(engine, 2, runs)


def test_a_heavy_cold_turn_waits_until_the_working_set_has_room(make_engine: EngineMaker) -> None:
    engine = make_engine(**CACHE)
    first = running(engine, 1, 2000)
    second = engine.add(2, 2200, 5, "s2", cache_salt="s2")
    for _ in range(5):
        engine.step()
    assert (second.status, held(engine)) == (RequestStatus.WAITING, 1)
    engine.scheduler.finish_requests(first.request_id, RequestStatus.FINISHED_ABORTED)
    engine.step()
    assert (second.status, held(engine)) == (RequestStatus.RUNNING, 0)
    engine.drain()


def test_no_turn_waits_while_the_cache_holds_all_that_ask(make_engine: EngineMaker) -> None:
    """The share is 3,264 tokens of a cache of 4,080."""
    engine = make_engine(**CACHE)
    running(engine, 1, 2000)
    for number in (2, 3):
        engine.add(number, 900, 5, f"s{number}", cache_salt=f"s{number}")
    engine.step()
    assert held(engine) == 0
    engine.drain()
    assert {"r2", "r3"} <= set(engine.finished())


def test_if_the_cache_does_not_hold_all_that_ask_they_fill_the_share(make_engine: EngineMaker) -> None:
    engine = make_engine(**CACHE)
    running(engine, 1, 2000)
    first, second, third = (engine.add(number, 800, 5, f"s{number}", cache_salt=f"s{number}") for number in (2, 3, 4))
    engine.step()
    assert (first.status, second.status, third.status) == (RequestStatus.RUNNING, *[RequestStatus.WAITING] * 2)
    engine.drain()
    assert {"r2", "r3", "r4"} <= set(engine.finished())


def test_a_held_turn_counts_as_waiting_and_can_be_aborted(make_engine: EngineMaker) -> None:
    engine = make_engine(**CACHE)
    running(engine, 1, 2000)
    second = engine.add(2, 2200, 5, "s2", cache_salt="s2")
    engine.step()
    assert engine.scheduler.get_request_counts() == (1, 1)
    assert engine.scheduler.get_num_unfinished_requests() == 2
    engine.scheduler.finish_requests(second.request_id, RequestStatus.FINISHED_ABORTED)
    assert engine.scheduler.get_request_counts() == (1, 0)
    engine.drain()
    assert "r2" not in engine.finished()


def test_the_tenant_with_the_least_engine_time_is_admitted_first(make_engine: EngineMaker) -> None:
    engine = make_engine(**CACHE)
    busy, quiet = {TENANT: "busy"}, {TENANT: "quiet"}
    engine.add(1, 1000, 5, "s1", cache_salt="s1", extra_args=busy)
    engine.drain()
    first = running(engine, 2, 2000)
    small = engine.add(3, 1500, 5, "s3", cache_salt="s3", extra_args=busy)
    large = engine.add(4, 1600, 5, "s4", cache_salt="s4", extra_args=quiet)
    engine.scheduler.finish_requests(first.request_id, RequestStatus.FINISHED_ABORTED)
    engine.step()
    assert (small.status, large.status) == (RequestStatus.WAITING, RequestStatus.RUNNING)
    engine.drain()
    assert {"r3", "r4"} <= set(engine.finished())


def test_light_turns_pass_a_held_one(make_engine: EngineMaker) -> None:
    engine = make_engine(**CACHE)
    running(engine, 1, 2000)
    heavy = engine.add(2, 2200, 5, "s2", cache_salt="s2")
    light = engine.add(3, 400, 5, "s3", cache_salt="s3")
    engine.step()
    assert (heavy.status, light.status) == (RequestStatus.WAITING, RequestStatus.RUNNING)
    engine.drain()


def test_a_stream_of_light_turns_does_not_pass_a_held_one_for_ever(make_engine: EngineMaker) -> None:
    """It goes in once they have come with as many tokens as it has."""
    engine = make_engine(**CACHE)
    running(engine, 1, 2000)
    heavy = engine.add(2, 2200, 5, "s2", cache_salt="s2")
    passed_tokens = 0
    engine.step()
    for number in range(10, 60):
        if not held(engine):
            break
        passed_tokens += 200
        engine.add(number, 200, 5, f"s{number}", cache_salt=f"s{number}")
        engine.step()
    assert heavy.num_tokens <= passed_tokens <= heavy.num_tokens + 200
    engine.drain_until(lambda: heavy.status == RequestStatus.RUNNING)
    engine.drain()


def test_light_turns_that_wait_have_their_room_before_a_newcomer(make_engine: EngineMaker) -> None:
    engine = make_engine(**CACHE)
    running(engine, 1, 1000)
    for number in range(2, 8):
        engine.add(number, 400, 5, f"s{number}", cache_salt=f"s{number}")
    heavy = engine.add(8, 700, 5, "s8", cache_salt="s8")  # would fit beside the running turn
    engine.step()
    assert (heavy.status, held(engine)) == (RequestStatus.WAITING, 1)
    engine.drain()
    assert "r8" in engine.finished()


def test_a_resident_session_is_not_held_however_much_its_tool_returns(make_engine: EngineMaker) -> None:
    engine, _, _ = paused_and_running(make_engine, 1200, 1200)
    following = engine.add(3, 1900, 5, "s1", cache_salt="s1")
    engine.step()
    assert "r1" in engine.finished()
    assert following.status == RequestStatus.RUNNING
    engine.drain()


def test_a_newcomer_evicts_no_resident_context_that_is_worth_its_memory(make_engine: EngineMaker) -> None:
    engine, pins, _ = paused_and_running(make_engine, 1600, 480)
    newcomer = engine.add(3, 2100, 5, "s3", cache_salt="s3")
    engine.step()
    assert (newcomer.status, "s1" in pins) == (RequestStatus.WAITING, True)
    engine.clock.now_s += 4.2  # a prefill of 1.6 s is worth 2.55 times as long: the cache is 2.55 times the context
    engine.step()
    assert (newcomer.status, "s1" in pins) == (RequestStatus.RUNNING, False)
    assert released(engine, "outlasted") == 1
    engine.drain()


def test_a_sub_agent_of_a_resident_session_is_not_held(make_engine: EngineMaker) -> None:
    engine, pins, _ = paused_and_running(make_engine, 1600, 1000)
    child, stranger = (
        engine.add(number, 800, 5, f"s{number}", cache_salt=f"s{number}", extra_args=extra)
        for number, extra in ((3, {PARENT: "s1"}), (4, {PARENT: "unknown"}))
    )
    engine.step()
    assert (child.status, stranger.status) == (RequestStatus.RUNNING, RequestStatus.WAITING)
    assert "s1" in pins
    engine.drain()


def test_an_idle_engine_admits_a_turn_that_fits_nowhere(make_engine: EngineMaker) -> None:
    engine, _ = pinning(make_engine, **CACHE)
    for number in range(2):
        engine.add(number, 1000, 5, f"s{number}", cache_salt=f"s{number}")
        engine.drain()
    large = engine.add(9, 3900, 5, "large", cache_salt="large")
    engine.step()
    assert large.status == RequestStatus.RUNNING
    engine.drain()
    assert engine.finished()["r9"] == 5


def test_a_turn_that_has_waited_too_long_goes_in_without_room(make_engine: EngineMaker) -> None:
    engine, _, other = paused_and_running(make_engine, 1600, 480)
    waits = engine.add(3, 2100, 5, "s3", cache_salt="s3")
    engine.clock.now_s += 1.0
    again = follow(engine, other, session="s1")  # s1 stays resident: its next turn waits with its context
    engine.step()
    assert again.status == RequestStatus.RUNNING
    engine.clock.now_s += 60.0
    engine.drain_until(lambda: waits.status == RequestStatus.RUNNING)
    assert (other.status, held(engine)) == (RequestStatus.RUNNING, 0)
    engine.drain()


def test_the_bound_on_waits_is_told_while_turns_wait(make_engine: EngineMaker) -> None:
    engine = make_engine(**CACHE)
    running(engine, 1, 2000)
    engine.add(2, 2200, 5, "s2", cache_salt="s2")
    engine.step()
    metrics = engine.scheduler.engine.metrics  # type: ignore[attr-defined]
    share = ADMITTING.admission.overdue_share
    assert metrics.value("held_turns") == 1
    assert metrics.value("admission_bound_seconds") == pytest.approx(60.0 + 2 * 2.2 / share)
    engine.drain()
    engine.step()
    assert (metrics.value("held_turns"), metrics.value("admission_bound_seconds")) == (0, 0)


def test_no_turn_is_held_while_the_engine_is_paused_and_all_end_after_it(make_engine: EngineMaker) -> None:
    engine = make_engine(**CACHE)
    running(engine, 1, 2000)
    for number in range(2, 5):
        engine.add(number, 1600, 5, f"s{number}", cache_salt=f"s{number}")
    engine.step()
    engine.scheduler.set_pause_state(PauseState.PAUSED_NEW)
    for _ in range(5):
        engine.step()
    engine.scheduler.set_pause_state(PauseState.UNPAUSED)
    engine.drain()
    assert set(engine.finished()) == {"r1", "r2", "r3", "r4"}


def test_a_reset_of_the_cache_leaves_no_turn_held_for_ever(make_engine: EngineMaker) -> None:
    engine, _ = pinning(make_engine, **CACHE)
    for number in range(4):
        engine.add(number, 1500, 5, f"s{number}", cache_salt=f"s{number}")
    engine.step()
    engine.step()
    engine.scheduler.reset_prefix_cache(reset_running_requests=True)
    engine.drain()
    assert len(engine.finished()) == 4


def test_a_callers_priority_goes_before_the_size_of_a_turn(make_engine: EngineMaker) -> None:
    engine = make_engine(change=by_priority, **CACHE)
    first = running(engine, 1, 2000)
    small = engine.add(2, 1600, 5, "s2", cache_salt="s2", priority=1)
    urgent = engine.add(3, 1900, 5, "s3", cache_salt="s3", priority=0)
    engine.step()
    assert held(engine) == 2
    engine.scheduler.finish_requests(first.request_id, RequestStatus.FINISHED_ABORTED)
    engine.step()
    assert (urgent.status, small.status) == (RequestStatus.RUNNING, RequestStatus.WAITING)
    engine.drain()


def test_a_share_of_zero_holds_and_pins_nothing(make_engine: EngineMaker) -> None:
    off = SchedulerSettings(step_time=STEP, residency=Residency(share=0.0, heavy_s=0.5))
    engine, pins = pinning(make_engine, kv_tokens=4_096, settings=off)
    for number in range(3):
        engine.add(number, 1000, 5, f"s{number}", cache_salt=f"s{number}")
    engine.step()
    assert isinstance(engine.scheduler, TestedScheduler)
    assert held(engine) == 0
    engine.drain()
    assert not pins
