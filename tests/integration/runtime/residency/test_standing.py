"""The order of held turns is made again only when something could admit one of them, on vLLM's real scheduler."""

from vllm.v1.request import Request, RequestStatus

from augserve.runtime import AugServeScheduler

from ..conftest import STEP_S, Engine, EngineMaker
from ..requests import running
from .contexts import CACHE, held


def orders(engine: Engine) -> int:
    """How often the waiting turns were ranked."""
    assert isinstance(engine.scheduler, AugServeScheduler)
    return int(engine.scheduler.engine.metrics.value("part_seconds", part="order", le="+Inf"))


def holding(make_engine: EngineMaker) -> tuple[Engine, Request, Request]:
    """An engine with a running turn, and a heavy one that is held because both do not fit."""
    engine = make_engine(**CACHE)  # type: ignore[arg-type]
    first = running(engine, 1, 2_000)
    second = engine.add(2, 2_200, 5, "s2", cache_salt="s2")
    engine.step()
    assert held(engine) == 1
    return engine, first, second


def test_the_order_of_held_turns_stands_for_a_quarter_of_a_second(make_engine: EngineMaker) -> None:
    engine, _, second = holding(make_engine)
    before, steps = orders(engine), 100
    for _ in range(steps):
        engine.step()
    assert second.status == RequestStatus.WAITING
    assert orders(engine) - before <= steps * STEP_S / 0.25 + 1


def test_a_turn_that_arrives_is_ordered_in_the_next_step(make_engine: EngineMaker) -> None:
    engine, _, _ = holding(make_engine)
    light = engine.add(3, 40, 5, "s3", cache_salt="s3")
    engine.step()
    assert light.status == RequestStatus.RUNNING


def test_a_held_turn_goes_in_with_the_step_after_the_running_one_ends(make_engine: EngineMaker) -> None:
    engine, first, second = holding(make_engine)
    engine.drain_until(first.is_finished)
    engine.step()
    assert second.status == RequestStatus.RUNNING


def test_a_held_turn_goes_in_with_the_step_after_a_running_one_is_aborted(make_engine: EngineMaker) -> None:
    engine, first, second = holding(make_engine)
    engine.scheduler.finish_requests(first.request_id, RequestStatus.FINISHED_ABORTED)
    engine.step()
    assert second.status == RequestStatus.RUNNING
