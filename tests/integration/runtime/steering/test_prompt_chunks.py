"""Short prompts beside a long one, on vLLM's real scheduler."""

import dataclasses

import pytest
from vllm.config import VllmConfig

from augserve.models.serving.settings import BudgetGains, Residency, SchedulerSettings, StepTime
from augserve.runtime import vllm_compat
from augserve.runtime.control.watcher import Change

from ..conftest import EngineMaker

BUDGET = 64
LONG = 3_900


def short_steps(config: VllmConfig) -> None:
    """`--max-num-batched-tokens 64`"""
    config.scheduler_config.max_num_batched_tokens = BUDGET


def short_steps_and_chunks(config: VllmConfig) -> None:
    """The same with `--long-prefill-token-threshold 20`."""
    short_steps(config)
    config.scheduler_config.long_prefill_token_threshold = 20


def settings(running_share: float) -> SchedulerSettings:
    return SchedulerSettings(
        budget=dataclasses.replace(BudgetGains(), running_share=running_share),
        residency=dataclasses.replace(Residency(), heavy_s=0.01),  # 200 tokens
        step_time=StepTime(per_prefill_token_s=5e-5),
    )


@pytest.mark.parametrize(("running_share", "steps"), [(0.25, 3), (1.0, LONG // BUDGET)])
def test_a_short_turn_does_not_wait_for_the_whole_prompt_of_a_long_one(
    make_engine: EngineMaker, running_share: float, steps: int
) -> None:
    engine = make_engine(settings=settings(running_share), change=short_steps)
    engine.add(0, LONG, 2)
    engine.step()
    engine.add(1, 40, 2)
    taken = 0
    while "r1" not in engine.scheduled[-1]:
        engine.step()
        taken += 1
    assert taken <= steps if running_share < 1.0 else taken >= steps - 3
    engine.drain()
    engine.assert_nothing_is_left()


def test_the_long_prompt_keeps_its_share_while_short_ones_keep_coming(make_engine: EngineMaker) -> None:
    engine = make_engine(settings=settings(0.25), change=short_steps)
    engine.add(0, 640, 2)
    engine.step()
    for number in range(1, 60):
        engine.add(number, 50, 1)
        engine.step()
        if engine.scheduler.requests["r0"].num_output_tokens:
            break
    else:
        pytest.fail("the long prompt starves")
    engine.drain()
    engine.assert_nothing_is_left()


def test_a_limit_that_vllm_was_started_with_holds_and_comes_back(make_engine: EngineMaker) -> None:
    engine = make_engine(settings=settings(0.25), change=short_steps_and_chunks)
    engine.add(0, LONG, 2)
    for _ in range(3):
        engine.step()
    engine.add(1, 40, 2)
    engine.step()
    assert engine.scheduled[-1] == {"r0": 20, "r1": 20}  # alone, r0 had whole steps: so vLLM has it
    chunks = engine.scheduler.decisions.chunks
    assert chunks is not None
    chunks.restore()
    assert vllm_compat.chunk_limit(engine.scheduler) == 20
    engine.drain()


def test_another_mode_gives_vllm_its_own_limit_back(make_engine: EngineMaker) -> None:
    engine = make_engine(settings=settings(0.25), change=short_steps)
    engine.add(0, LONG, 2)
    engine.step()
    engine.step()
    assert vllm_compat.chunk_limit(engine.scheduler) == BUDGET
    engine.scheduler.control.post(Change(mode="shadow"))
    engine.step()
    assert vllm_compat.chunk_limit(engine.scheduler) == 0
    engine.drain()
