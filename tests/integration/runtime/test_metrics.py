"""What /metrics says of residency and of forecasts, on vLLM's real scheduler."""

import pytest

from augserve.runtime import AugServeScheduler
from augserve.runtime.metrics import Metrics

from .conftest import Engine, EngineMaker
from .requests import follow, running
from .residency.contexts import CACHE


def metrics(engine: Engine) -> Metrics:
    assert isinstance(engine.scheduler, AugServeScheduler)
    return engine.scheduler.engine.metrics


@pytest.mark.parametrize("mode", ["active", "shadow", "observe"])
def test_a_lost_context_counts_as_computed_again(make_engine: EngineMaker, mode: str) -> None:
    engine = make_engine(mode=mode)
    first = engine.add(1, 400, 20, "s")
    engine.drain()
    second = follow(engine, first, more=30)
    engine.drain()
    found = metrics(engine)
    cached = 16 * (419 // 16)
    counts = [found.value("prompt_tokens", part=part) for part in ("cached", "again", "new")]
    assert counts == [cached, 420 - cached, 400 + 30]
    assert engine.scheduler.reset_prefix_cache()
    follow(engine, second, more=10)
    engine.drain()
    assert found.value("prompt_tokens", part="again") == 420 - cached + 470


def test_the_working_set_and_the_waits_for_it_are_told(make_engine: EngineMaker) -> None:
    engine = make_engine(**CACHE)
    running(engine, 1, 2000)
    second = engine.add(2, 2200, 5, "s2", cache_salt="s2")
    for _ in range(5):
        engine.step()
    found = metrics(engine)
    assert found.value("resident_sessions") == 1
    assert found.value("working_set_limit_tokens") == 16 * 204
    assert 2000 <= found.value("working_set_tokens") <= 2000 + 5 * 16
    assert found.value("admission_wait_seconds", to="room", le="+Inf") == 1
    engine.clock.now_s += 7.0
    engine.drain()
    assert second.is_finished()
    assert found.value("admission_wait_seconds", to="room", le="3.0") == 1
    assert found.value("admission_wait_seconds", to="room", le="+Inf") == 2


def test_a_pause_is_told_as_a_ratio_to_its_forecast(make_engine: EngineMaker) -> None:
    engine = make_engine()  # predicts pauses of 50 s
    first = engine.add(1, 100, 20, "s", extra_args={"augserve_last_tool": "sql"})
    engine.drain()
    engine.clock.now_s += 75.0
    follow(engine, first)
    engine.drain()
    found = metrics(engine)
    assert found.value("forecast_ratio", quantity="tool duration", le="1.25") == 0
    assert found.value("forecast_ratio", quantity="tool duration", le="2.0") == 1


def test_every_part_is_timed(make_engine: EngineMaker) -> None:
    engine = make_engine()
    engine.add(1, 100, 20, "s")
    engine.drain()
    for part in ("prediction", "budget", "residency", "order", "preemption", "chunks", "step", "output"):
        assert metrics(engine).value("part_seconds", part=part, le="+Inf") >= 1, part
