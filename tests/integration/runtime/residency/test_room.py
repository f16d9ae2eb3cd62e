"""Pins and admissions on vLLM's real scheduler with a nearly full cache."""

from typing import Any

import pytest
from vllm.config import VllmConfig
from vllm.v1.request import Request, RequestStatus

from augserve.models.serving.settings import Admission, Residency, SchedulerSettings, StepTime, ValueWeights
from augserve.runtime import vllm_compat
from augserve.runtime.residency.pins import Pins

from ..conftest import Engine, EngineMaker
from ..requests import follow
from .contexts import pinning, released

SETTINGS = SchedulerSettings(
    weights=ValueWeights(stage_one=0, uncached=0, output=0, remaining=0, waiting=1, slack=0),  # first come first
    step_time=StepTime(base_s=0.01, per_prefill_token_s=0.1),  # makes every context worth pinning
    residency=Residency(heavy_s=3600.0),
    admission=Admission(pass_over_s=2.0),
)
CACHE = {"kv_tokens": 4_096, "settings": SETTINGS}  # 255 blocks


def small_steps(config: VllmConfig) -> None:
    """Makes the blocks of one step few compared with the cache."""
    config.scheduler_config.max_num_batched_tokens = 256


def with_a_claim(make_engine: EngineMaker, running: int, more: int) -> tuple[Engine, Pins, Request, Request]:
    """101 blocks are pinned, a turn of `running` tokens runs, and the session's next turn has arrived with `more`
    tokens."""
    engine, pins = pinning(make_engine, change=small_steps, **CACHE)
    before = engine.add(1, 1600, 20, "s")
    engine.drain()
    assert len(pins) == 1
    other = engine.add(2, running, 400, "running", cache_salt="its own")
    engine.drain_until(lambda: not other.is_prefill_chunk)
    return engine, pins, other, follow(engine, before, more)


def test_a_turns_own_claim_is_no_room_for_its_other_tokens(make_engine: EngineMaker) -> None:
    """It finds its context but no room for the rest: smaller turns pass, and its claim stays until there is room."""
    engine, pins, other, claiming = with_a_claim(make_engine, running=1500, more=1400)
    engine.clock.now_s += 0.001
    small = [engine.add(number, 60, 2, cache_salt="small") for number in range(3, 6)]
    engine.drain_until(lambda: all(each.num_computed_tokens >= 60 for each in small))
    assert (claiming.status, len(pins)) == (RequestStatus.WAITING, 1)
    engine.scheduler.finish_requests(other.request_id, RequestStatus.FINISHED_ABORTED)
    engine.drain()
    assert released(engine, "hit") == 1
    stats = [each.prefill_stats for each in engine.outputs if each.request_id == claiming.request_id]
    assert stats[0].num_cached_tokens >= 1600


def test_a_turn_that_does_not_reuse_its_claim_gets_its_blocks(make_engine: EngineMaker) -> None:
    """The session's next prompt is different, for example after its history was summarised."""
    engine, pins = pinning(make_engine, change=small_steps, **CACHE)
    for number in range(2):
        engine.add(number, 960, 5, f"s{number}", cache_salt=f"s{number}")
        engine.drain()
    assert len(pins) == 2
    engine.add(2, 320, 400, "running")
    engine.drain_until(lambda: len(engine.scheduler.running) == 1)
    other = engine.add(3, 2880, 5, "s1", cache_salt="another")
    engine.step()
    assert other.status == RequestStatus.RUNNING
    engine.drain()


def test_pins_whose_blocks_are_in_use_stay(make_engine: EngineMaker) -> None:
    engine, pins = pinning(make_engine, change=small_steps, **CACHE)
    forked = engine.add(0, 640, 50, "forked")  # shorter, hence of larger waste
    engine.drain()
    engine.add(1, 1280, 5, "s1", cache_salt="s1")
    engine.drain()
    assert len(pins) == 2
    running = follow(engine, forked, session="another")
    engine.drain_until(lambda: not running.is_prefill_chunk)
    assert len(pins) == 2
    large = engine.add(3, 2400, 2, "large", cache_salt="large")
    engine.step()
    assert (large.status, released(engine, "pressure"), len(pins)) == (RequestStatus.RUNNING, 1, 1)
    engine.drain()


def test_demand_is_a_multiple_of_the_groups_of_layers(
    make_engine: EngineMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine()
    request = engine.add(1, 1600, 5)
    managers = engine.scheduler.kv_cache_manager.coordinator.single_type_managers
    (alone,) = vllm_compat.prompt_demand(engine.scheduler, [request])
    step = vllm_compat.step_demand(engine.scheduler)
    coordinator: Any = engine.scheduler.kv_cache_manager.coordinator
    monkeypatch.setattr(coordinator, "single_type_managers", managers * 2)
    assert vllm_compat.prompt_demand(engine.scheduler, [request]) == [2 * alone]
    assert vllm_compat.step_demand(engine.scheduler) == 2 * step
