"""Models other than decoders with full attention: hybrid ones, pooling ones, and ones that read images."""

import random
import time
from typing import Any

import pytest
import torch
from vllm.multimodal.inputs import MultiModalFeatureSpec, PlaceholderRange
from vllm.pooling_params import PoolingParams
from vllm.v1.core.encoder_cache_manager import EncoderCacheManager
from vllm.v1.core.kv_cache_coordinator import HybridKVCacheCoordinator
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request

from augserve.pipeline.simulator.engine import block_hasher
from augserve.runtime import AugServeScheduler
from augserve.runtime.vllm_compat.walk_time import BURST_S, SHARE

from ..conftest import STEP_S, EngineMaker, pooling, whole_images
from ..kv_groups import sliding_too
from ..requests import load


@pytest.mark.parametrize("mode", ["active", "shadow", "observe"])
def test_every_request_of_a_hybrid_model_ends(
    make_engine: EngineMaker, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model with full attention and with a sliding window, each with blocks of its own."""
    sliding_too(monkeypatch)
    engine = make_engine(mode=mode, kv_tokens=12_000)
    assert isinstance(engine.scheduler.kv_cache_manager.coordinator, HybridKVCacheCoordinator)
    expected = load(engine, 60)
    engine.drain()
    assert engine.finished() == expected
    assert isinstance(engine.scheduler, AugServeScheduler)
    assert engine.scheduler.engine.metrics.value("fallbacks") == 0
    engine.assert_nothing_is_left()


def test_slow_look_ups_of_a_hybrid_model_take_little_time(
    make_engine: EngineMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each walk over a prompt takes 5 ms; 40 turns arrive and wait for 40 steps, at least one walk each."""
    sliding_too(monkeypatch)
    engine = make_engine(kv_tokens=12_000, max_num_seqs=1)
    coordinator = engine.scheduler.kv_cache_manager.coordinator
    walk = coordinator.find_longest_cache_hit
    engine.add(0, 100, 100)
    engine.step()

    walks = 0

    def slow(*arguments: Any) -> Any:
        nonlocal walks
        walks += 1
        time.sleep(0.005)
        return walk(*arguments)

    monkeypatch.setattr(coordinator, "find_longest_cache_hit", slow)
    start_s = time.perf_counter()
    for number in range(1, 41):
        engine.add(number, 500, 2)
        engine.step()
    assert 0 < walks <= (BURST_S + SHARE * (time.perf_counter() - start_s)) / 0.005 + 1


def test_an_image_that_must_stay_whole_is_computed_in_one_step(make_engine: EngineMaker) -> None:
    engine = make_engine(change=whole_images, kv_tokens=65_536, max_num_seqs=64)
    scheduler = engine.scheduler
    scheduler.max_num_encoder_input_tokens = 2048
    scheduler.encoder_cache_manager = EncoderCacheManager(cache_size=2048)
    for number in range(40):
        engine.add(number, 50, 400)
    for _ in range(20):
        engine.clock.now_s += 0.3  # far too slow, so that a steered budget would fall to its least
        engine.step()
    place = PlaceholderRange(offset=30, length=700)
    image = MultiModalFeatureSpec(data=None, modality="image", identifier="i", mm_position=place)
    turn = engine.add(40, 30 + 700 + 50, 4, mm_features=[image])
    parts: list[tuple[int, int]] = []
    while not turn.num_output_tokens:
        before = turn.num_computed_tokens
        engine.clock.now_s += 0.3
        engine.step()
        if tokens := engine.scheduled[-1].get("r40"):
            parts.append((before, before + tokens))
    assert any(start <= 30 and end >= 730 for start, end in parts), parts


@pytest.mark.parametrize("mode", ["active", "shadow", "observe"])
def test_every_request_of_a_pooling_model_ends(make_engine: EngineMaker, mode: str) -> None:
    """It generates nothing, so that there is nothing to predict."""
    engine = make_engine(mode=mode, change=pooling, kv_tokens=6_000)
    scheduler = engine.scheduler
    for number in range(40):
        ids = random.Random(number).choices(range(100, 30_000), k=20 + 70 * number)
        facts: dict[str, Any] = {"session_id": f"s{number % 7}", "block_hasher": block_hasher()}
        scheduler.add_request(Request(f"r{number}", ids, None, PoolingParams(), engine.clock.now_s, **facts))
    ended: set[str] = set()
    for _ in range(400):
        engine.clock.now_s += STEP_S
        scheduled = scheduler.schedule()
        numbers = list(scheduled.num_scheduled_tokens)
        pooled = [None if scheduler.requests[each].is_prefill_chunk else torch.zeros(4) for each in numbers]
        places = {each: index for index, each in enumerate(numbers)}
        result = ModelRunnerOutput(numbers, places, [[] for _ in numbers], pooler_output=pooled)
        for outputs in scheduler.update_from_output(scheduled, result).values():
            ended |= {output.request_id for output in outputs.outputs if output.finish_reason is not None}
    assert ended == {f"r{number}" for number in range(40)}
    assert isinstance(scheduler, AugServeScheduler)
    metrics = scheduler.engine.metrics
    assert metrics.value("fallbacks") == 0
    engine.assert_nothing_is_left()
