"""Head of line and bounded waits, on vLLM's real scheduler."""

import random

import pytest
from vllm.v1.request import Request, RequestStatus

from augserve.models.serving.settings import Admission, SchedulerSettings, ValueWeights
from augserve.runtime import vllm_compat
from augserve.runtime.queueing.value import CLASS_S
from augserve.runtime.vllm_compat import stepping

from ..conftest import Engine, EngineMaker, TestedScheduler

LATE_LAST = ValueWeights(stage_one=0, uncached=0, output=0, remaining=0, waiting=1, slack=0)  # first come, first served


def crowded(make_engine: EngineMaker, pass_over_s: float) -> tuple[Engine, Request, list[Request]]:
    """A running turn fills most of a small cache; a large turn waits first and small ones behind it."""
    settings = SchedulerSettings(weights=LATE_LAST, admission=Admission(pass_over_s=pass_over_s))
    engine = make_engine(kv_tokens=4_096, settings=settings)
    engine.add(0, 2600, 600)
    engine.step()
    engine.step()
    large = engine.add(1, 3400, 2)
    engine.clock.now_s += 0.001
    return engine, large, [engine.add(number, 60, 2) for number in range(2, 5)]


def test_smaller_requests_pass_one_that_does_not_fit(make_engine: EngineMaker) -> None:
    engine, large, small = crowded(make_engine, pass_over_s=2.0)
    engine.step()
    assert {each.status for each in small} == {RequestStatus.RUNNING}
    assert large.status == RequestStatus.WAITING
    engine.drain()
    assert engine.finished()["r1"] == 2
    engine.assert_nothing_is_left()


def test_withoutpassing_over_over_it_is_vllms_own_way(make_engine: EngineMaker) -> None:
    engine, _, small = crowded(make_engine, pass_over_s=0.0)
    engine.step()
    assert {each.status for each in small} == {RequestStatus.WAITING}


def test_after_a_while_free_blocks_are_reserved_for_it(make_engine: EngineMaker) -> None:
    """Small turns that would fit keep arriving; the large one still runs when the first one ends."""
    engine, large, _ = crowded(make_engine, pass_over_s=2.0)
    began_s, number = engine.clock.now_s, 100
    while large.status == RequestStatus.WAITING:
        assert engine.clock.now_s < began_s + 20.0, "it starves"
        engine.add(number, 200, 50)
        number += 1
        engine.step()
        if engine.clock.now_s > began_s + 2.1:
            running = {each.request_id for each in engine.scheduler.running}
            assert f"r{number - 1}" not in running, "no turn passes any more"
    engine.drain()
    engine.assert_nothing_is_left()


@pytest.mark.parametrize("kv_tokens", [4_096, 12_288])
def test_room_and_demand_agree_with_what_vllm_admits(make_engine: EngineMaker, kv_tokens: int) -> None:
    """Where vLLM admits nothing though there is room, its first request does not fit."""
    engine = make_engine(kv_tokens=kv_tokens, max_num_seqs=64)
    scheduler = engine.scheduler
    assert isinstance(scheduler, TestedScheduler)
    free_room, kv_cache = scheduler.decisions.ordering.room, scheduler.decisions.engine.kv_cache
    assert free_room.blocks() == kv_cache.free_blocks - kv_cache.watermark_blocks
    rnd, refused, wrong = random.Random(kv_tokens), 0, 0
    for number in range(250):
        engine.add(number, rnd.randint(2, 3000), rnd.randint(1, 80), f"s{rnd.randrange(40)}")
        if number % 2:
            continue
        room, before = free_room.blocks(), list(scheduler.running)
        engine.step()
        all_tokens = sum(engine.scheduled[-1].values()) >= scheduler.max_num_scheduled_tokens
        if scheduler.waiting and scheduler.running == before and room > 0 and not all_tokens:
            refused += 1
            first = scheduler.waiting.peek_request()
            cached = kv_cache.cached_tokens(first)
            needed = -(-first.num_tokens // 16) - kv_cache.held_blocks(first, cached, lambda _: 0)
            wrong += needed <= room - 2
    assert refused
    assert not wrong
    engine.drain()
    engine.assert_nothing_is_left()


def test_the_demand_of_running_requests_is_what_vllm_allocates(make_engine: EngineMaker) -> None:
    engine = make_engine(kv_tokens=16_384)
    rnd = random.Random(3)
    for number in range(20):
        engine.add(number, rnd.randint(2, 400), rnd.randint(20, 90))
    for _ in range(20):
        engine.step()
    pool = engine.scheduler.kv_cache_manager.block_pool
    compared = 0
    while engine.scheduler.running and not engine.scheduler.waiting:
        expected = vllm_compat.running_demand(engine.scheduler)
        before = pool.get_num_free_blocks()
        engine.schedule()
        assert before - pool.get_num_free_blocks() <= expected
        compared += before - pool.get_num_free_blocks() == expected > 0
        engine.answer()
    assert compared


def test_the_demand_of_running_requests_is_counted_once_in_each_step(
    make_engine: EngineMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Passing over and preemption both need it."""
    engine, _, _ = crowded(make_engine, pass_over_s=2.0)
    count, counted = stepping.running_demand, []
    monkeypatch.setattr(stepping, "running_demand", lambda scheduler: counted.append(count(scheduler)) or counted[-1])
    for step in range(1, 5):
        demand = count(engine.scheduler)
        engine.step()
        assert len(counted) == step
        assert counted[-1] == demand


def test_waits_are_bounded_though_many_turns_are_overdue(make_engine: EngineMaker) -> None:
    """Turns of better value keep arriving; overdue turns go first, longest wait first."""
    weights = ValueWeights(stage_one=0, uncached=1, output=0, remaining=0, waiting=0, slack=0)
    settings = SchedulerSettings(weights=weights, max_wait_s=2.0, admission=Admission(overdue_share=0.5))
    engine = make_engine(max_num_seqs=2, settings=settings)
    long = [engine.add(number, 500, 2) for number in range(8)]
    waited_s: dict[str, float] = {}
    for number in range(100, 400):
        engine.add(number, 20, 2)
        engine.step()
        for each in long:
            if each.status == RequestStatus.RUNNING:
                waited_s.setdefault(each.request_id, engine.clock.now_s - each.arrival_time)
    assert len(waited_s) == 8
    assert 2.0 < max(waited_s.values()) < 3.0
    engine.drain()
    engine.assert_nothing_is_left()


def test_a_flooding_tenant_does_not_starve_another(make_engine: EngineMaker) -> None:
    def run(weight: float) -> float:
        weights = ValueWeights(stage_one=0, uncached=0, output=0, waiting=1e-3, tenant=weight)
        engine = make_engine(max_num_seqs=4, settings=SchedulerSettings(weights=weights))
        for number in range(200):
            engine.add(number, 200, 10, extra_args={"augserve_tenant": "many"})
        for _ in range(30):
            engine.step()
        engine.clock.now_s += 0.001
        few = [engine.add(300 + number, 200, 10, extra_args={"augserve_tenant": "few"}) for number in range(3)]
        began_s = engine.clock.now_s
        while not all(each.is_finished() for each in few):
            engine.step()
        return engine.clock.now_s - began_s

    assert run(1000.0) < 0.5 * run(0.0)


def test_a_session_with_more_attained_service_goes_later(make_engine: EngineMaker) -> None:
    weights = ValueWeights(stage_one=0, uncached=0, output=0, attained=1.0)
    engine = make_engine(max_num_seqs=1, settings=SchedulerSettings(weights=weights))
    engine.add(0, 800, 60, "had much")
    engine.add(1, 40, 2, "had little")
    engine.drain()
    engine.add(2, 50, 20, "running")
    engine.step()
    engine.add(3, 900, 2, "had much")
    engine.add(4, 900, 2, "had little")
    engine.drain()
    first = list({output.request_id: None for output in engine.outputs if output.new_token_ids})
    assert first.index("r4") < first.index("r3")


def test_a_fault_in_passing_over_leaves_the_order_and_is_counted(
    make_engine: EngineMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, large, _ = crowded(make_engine, pass_over_s=2.0)
    scheduler = engine.scheduler
    assert isinstance(scheduler, TestedScheduler)

    def broken(*_: object) -> int:
        raise RuntimeError("broken")

    monkeypatch.setattr(scheduler.decisions.ordering.room, "blocks", broken)
    engine.step()
    assert scheduler.waiting.peek_request() is large
    assert scheduler.engine.metrics.value("fallbacks", reason="admission") == 1
    engine.drain()
    engine.assert_nothing_is_left()


def test_the_reserved_turn_comes_before_all_classes() -> None:
    from augserve.runtime.queueing.ordering import RESERVED

    assert RESERVED < -2 * CLASS_S
