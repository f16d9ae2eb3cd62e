"""Faults inside AugServe are counted by reason; vLLM's own behaviour takes over, and nothing is lost or leaked."""

from itertools import chain
from operator import attrgetter

import pytest
from prometheus_client import Counter
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.request import Request, RequestStatus

from augserve.models.serving.settings import Residency, SchedulerSettings, StepTime, ValueWeights
from augserve.runtime import AugServeScheduler
from augserve.runtime.guard import SUSPENSION_S
from augserve.runtime.metrics import Metrics
from augserve.runtime.recording.tracer import Tracer
from augserve.runtime.residency.pins import Pins

from .conftest import Engine, EngineMaker, TestedScheduler
from .requests import load

PINNING = SchedulerSettings(
    step_time=StepTime(base_s=0.01, per_prefill_token_s=0.1),  # makes every context worth pinning
    residency=Residency(heavy_s=3600.0),
)
PARTS = {
    "lifecycle.turn_arrived": "arrival",
    "lifecycle.sessions.link": "linking",
    "lifecycle.step_ended": "output",
    "lifecycle.requests_finished": "finish",
    "lifecycle.forget_lost": "step",
    "decisions.forecaster.pause_ended": "correction",
    "decisions.forecaster.turn_ended": "correction",
    "decisions.forecaster.reset": "correction",
    "decisions.forecasting.predict": "prediction",
    "decisions.canary.forecaster.turn_ended": "candidate correction",
    "decisions.canary.forecaster.reset": "candidate correction",
    "decisions.budget.before_step": "budget",
    "decisions.deferred.slots": "deferral",
    "decisions.ordering.rank": "order",
    "decisions.ordering.passing_over.arrange": "admission",
    "decisions.preemption.before_step": "preemption",
    "decisions.chunks.before_step": "chunks",
    "decisions.pressure.make_room": "context",
    "decisions.admission.hold": "residency",
    "decisions.contexts.pins.pin": "context",
    "decisions.contexts.pins.turn_arrived": "context",
    "decisions.contexts.pins.turns_scheduled": "context",
    "decisions.contexts.pins.release_all": "context release",
}
"""The broken method, and the reason that counts it."""


class Broken:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, *_: object, **__: object) -> None:
        self.calls += 1
        raise RuntimeError("broken") if self.calls % 2 else MemoryError


def fallbacks(engine: Engine, reason: str) -> float:
    assert isinstance(engine.scheduler, AugServeScheduler)
    return engine.scheduler.engine.metrics.value("fallbacks", reason=reason)


@pytest.mark.parametrize(("part", "reason"), PARTS.items())
def test_a_fault_is_counted_by_its_reason_and_loses_no_request(
    make_engine: EngineMaker, part: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(kv_tokens=6_000, settings=PINNING)
    scheduler = engine.scheduler
    assert isinstance(scheduler, TestedScheduler)
    scheduler.predictor.answer = (1.0, 5.0, 20.0)  # sessions continue, so that contexts are pinned
    owner, _, name = part.rpartition(".")
    monkeypatch.setattr(attrgetter(owner)(scheduler), name, broken := Broken())
    expected = load(engine)
    for _ in range(3):
        engine.step()
    engine.scheduler.finish_requests("r59", RequestStatus.FINISHED_ABORTED)
    engine.drain()
    engine.clock.now_s += 5.0
    engine.add(60, 2500, 9, "s1")  # after a pause
    expected["r60"] = 9
    engine.drain()
    engine.scheduler.reset_prefix_cache()
    assert {**engine.finished(), "r59": 0} == {**expected, "r59": 0}
    assert broken.calls
    assert fallbacks(engine, reason) >= broken.calls
    monkeypatch.undo()
    engine.clock.now_s += 2 * SUSPENSION_S
    assert scheduler.reset_prefix_cache(), "pins are released as soon as that works again"
    scheduler.lifecycle.forget_lost(scheduler.requests, most=0)
    engine.assert_nothing_is_left()


def test_a_suspended_part_is_named_in_the_metrics(make_engine: EngineMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine()
    scheduler = engine.scheduler
    assert isinstance(scheduler, TestedScheduler)
    monkeypatch.setattr(scheduler.decisions.budget, "before_step", Broken())
    load(engine)
    for _ in range(5):
        engine.step()
    assert scheduler.engine.metrics.value("suspended", part="budget") == 1
    monkeypatch.undo()
    engine.clock.now_s += SUSPENSION_S
    engine.step()
    assert scheduler.engine.metrics.value("suspended") == 0


def test_pins_are_released_though_the_metrics_fail(make_engine: EngineMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks are released before the metrics are updated."""
    engine = make_engine(settings=PINNING)
    scheduler = engine.scheduler
    assert isinstance(scheduler, TestedScheduler)
    scheduler.predictor.answer = (1.0, 5.0, 20.0)
    for number in range(4):
        engine.add(number, 300, 5, f"s{number}")
        engine.drain()
    assert len(scheduler.decisions.contexts.pins) == 4
    monkeypatch.setattr(Counter, "inc", broken := Broken())
    assert scheduler.reset_prefix_cache()
    assert broken.calls
    engine.assert_nothing_is_left()


def test_a_shutdown_closes_everything_despite_faults(make_engine: EngineMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine(settings=PINNING)
    scheduler = engine.scheduler
    assert isinstance(scheduler, TestedScheduler)
    scheduler.predictor.answer = (1.0, 5.0, 20.0)
    engine.add(0, 300, 5, "s")
    engine.drain()
    breaks = [
        (Pins, "release_all", "context release"),
        (Tracer, "close", "shutdown"),
        (Metrics, "close", "shutdown"),
    ]
    for owner, name, _ in breaks:
        monkeypatch.setattr(owner, name, Broken())
    stock_shutdowns: list[object] = []
    monkeypatch.setattr(AsyncScheduler, "shutdown", lambda self: stock_shutdowns.append(self))
    scheduler.shutdown()
    assert stock_shutdowns == [scheduler], "vLLM's own shutdown runs"
    assert (fallbacks(engine, "context release"), fallbacks(engine, "shutdown")) == (1, 2)


@pytest.mark.parametrize("part", ["engine.kv_cache.cached_tokens", "ordering.queue.head"])
def test_an_error_in_the_ordering_leaves_vllms_own_order(
    make_engine: EngineMaker, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = [make_engine(kv_tokens=6_000), make_engine(AsyncScheduler, kv_tokens=6_000)]
    owner, _, name = part.rpartition(".")
    monkeypatch.setattr(attrgetter(owner)(engines[0].scheduler.decisions), name, Broken())
    for engine in engines:
        load(engine)
        engine.drain()
    assert engines[0].finished() == engines[1].finished()
    ours, stock = (list(dict.fromkeys(chain.from_iterable(engine.scheduled))) for engine in engines)
    assert ours == stock
    engines[0].assert_nothing_is_left()


def test_an_order_that_fails_later_is_replaced_by_vllms_own(
    make_engine: EngineMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(max_num_seqs=1)
    load(engine)
    engine.step()
    arrived = sorted(engine.scheduler.waiting, key=lambda request: int(request.request_id[1:]))
    assert list(engine.scheduler.waiting) != arrived

    monkeypatch.setattr(engine.scheduler.decisions.ordering.queue, "head", Broken())
    engine.step()
    assert list(engine.scheduler.waiting) == arrived
    engine.drain()
    engine.assert_nothing_is_left()


def test_a_turn_that_cannot_be_described_leaves_the_order_of_the_others(
    make_engine: EngineMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither as it arrives nor at a later look-up."""
    engine = make_engine(settings=SchedulerSettings(weights=ValueWeights(tenant=1.0)), kv_tokens=16_384, max_num_seqs=4)
    assert isinstance(engine.scheduler, AugServeScheduler)
    assert engine.scheduler.decisions is not None
    kv_cache = engine.scheduler.decisions.engine.kv_cache
    cached_tokens = kv_cache.cached_tokens

    def broken_for_one(request: Request, last_known: int = 0) -> int:
        if request.request_id == "r10":
            raise RuntimeError("malformed")
        return cached_tokens(request, last_known)

    monkeypatch.setattr(kv_cache, "cached_tokens", broken_for_one)
    for number in range(4):
        engine.add(number, 50, 400)
    engine.step()
    engine.add(10, 900, 5)
    waiting = [engine.add(number, 100 + 50 * (20 - number), 5) for number in range(11, 20)]
    for _ in range(5):
        engine.step()
    order = [request.request_id for request in engine.scheduler.decisions.ordering.queue]
    assert order == [*(request.request_id for request in reversed(waiting)), "r10"]
    assert fallbacks(engine, "description") > 0
    assert (fallbacks(engine, "order"), fallbacks(engine, "admission")) == (0, 0)
    engine.drain()
    engine.assert_nothing_is_left()
