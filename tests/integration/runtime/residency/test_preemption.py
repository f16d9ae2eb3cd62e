"""Preemption when the KV cache is full, on vLLM's real scheduler."""

import random
from typing import Any

import pytest
from vllm.v1.request import RequestStatus

from augserve.runtime.steering.preemption import PreemptionOrder
from augserve.runtime.vllm_compat import holding_queue

from ..conftest import EngineMaker, TestedScheduler, by_priority


def test_a_late_turn_is_preempted_instead_of_the_latest(make_engine: EngineMaker) -> None:
    engine = make_engine(kv_tokens=4_096)
    late = engine.add(0, 200, 300)
    late.arrival_time -= 30.0
    engine.scheduler.lifecycle.turns["r0"].arrival_s -= 30.0  # type: ignore[attr-defined]
    others = [engine.add(number, 200, 300) for number in range(1, 16)]
    while not any(each.num_preemptions for each in (late, *others)):
        engine.step()
    assert late.num_preemptions == 1
    assert others[-1].num_preemptions == 0, "stock vLLM would preempt the latest"
    engine.drain()
    assert set(engine.finished().values()) == {300}
    engine.assert_nothing_is_left()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_under_pressure_every_request_ends(make_engine: EngineMaker, seed: int) -> None:
    """Random lengths, arrivals and aborts on a tiny cache; each request is in exactly one queue."""
    engine = make_engine(kv_tokens=4_096)
    rnd, expected = random.Random(seed), {}
    for number in range(120):
        expected[f"r{number}"] = rnd.randint(1, 300)
        engine.add(number, rnd.randint(2, 1500), expected[f"r{number}"], f"s{rnd.randrange(30)}")
        for _ in range(rnd.randrange(12)):
            engine.step()
            scheduler = engine.scheduler
            places = [*scheduler.running, *scheduler.waiting, *holding_queue(scheduler)]
            assert (
                len(places) == len(set(places)) == len([r for r in scheduler.requests.values() if not r.is_finished()])
            )
            assert all(each.status == RequestStatus.RUNNING for each in scheduler.running)
            assert sum(engine.scheduled[-1].values()) <= scheduler.max_num_scheduled_tokens
        if number % 17 == 5:
            victim = rnd.choice(list(engine.scheduler.requests))
            engine.scheduler.finish_requests(victim, RequestStatus.FINISHED_ABORTED)
            expected.pop(victim, None)
    engine.drain()
    assert engine.finished() == expected
    engine.assert_nothing_is_left()


@pytest.mark.parametrize("facts", [{"mode": "shadow"}, {"mode": "observe"}, {"change": by_priority}])
def test_other_modes_and_the_callers_priority_do_not_reorder_running_requests(
    make_engine: EngineMaker, facts: dict[str, Any]
) -> None:
    engine = make_engine(kv_tokens=4_096, **facts)
    requests = [engine.add(number, 200, 300) for number in range(16)]
    while not any(each.num_preemptions for each in requests):
        engine.step()
        assert list(engine.scheduler.running) == [each for each in requests if each in engine.scheduler.running]
    engine.drain()
    engine.assert_nothing_is_left()


def test_an_error_is_counted_and_the_latest_is_preempted(
    make_engine: EngineMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(PreemptionOrder, "before_step", broken)
    engine = make_engine(kv_tokens=4_096)
    requests = [engine.add(number, 200, 300) for number in range(16)]
    engine.drain()
    assert sum(each.num_preemptions for each in requests) > 0
    assert isinstance(engine.scheduler, TestedScheduler)
    assert engine.scheduler.engine.metrics.value("fallbacks", reason="preemption") > 0
    engine.assert_nothing_is_left()
