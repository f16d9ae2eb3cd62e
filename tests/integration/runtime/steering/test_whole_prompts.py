"""Prompts that must not be cut, on vLLM's real scheduler."""

from functools import partial

import pytest
from vllm.config import VllmConfig
from vllm.v1.request import RequestStatus

from augserve.models.serving.settings import SchedulerSettings, StepTime

from ..conftest import Engine, EngineMaker

PROMPT = 1_500
SLOW = SchedulerSettings(step_time=StepTime(per_prefill_token_s=1e-3))
"""Beside a decode, a step has time for a part of the prompt."""


def on(device: str, config: VllmConfig) -> None:
    config.device_config.device_type = device


def decoding(make_engine: EngineMaker, device: str = "cpu") -> Engine:
    """An engine in which a request decodes."""
    engine = make_engine(settings=SLOW, change=partial(on, device))
    engine.add(0, 100, 200)
    engine.step()
    return engine


@pytest.mark.parametrize(("device", "is_cut"), [("cpu", False), ("cuda", True)])
def test_on_a_cpu_no_step_cuts_a_prompt_whose_tokens_are_drawn_by_a_seed(
    make_engine: EngineMaker, device: str, is_cut: bool
) -> None:
    """vLLM's engine dies of it there."""
    engine = decoding(make_engine, device)
    engine.add(1, PROMPT, 5, seed=7)
    engine.step()
    assert (engine.scheduled[-1]["r1"] < PROMPT // 2) == is_cut
    engine.drain()
    assert engine.finished() == {"r0": 200, "r1": 5}
    engine.assert_nothing_is_left()


@pytest.mark.parametrize("facts", [{}, {"seed": 7, "temperature": 0.0}])
def test_other_prompts_are_cut_on_a_cpu_too(make_engine: EngineMaker, facts: dict[str, float]) -> None:
    engine = decoding(make_engine)
    engine.add(1, PROMPT, 5, **facts)
    engine.step()
    assert engine.scheduled[-1]["r1"] < PROMPT // 2
    engine.drain()
    engine.assert_nothing_is_left()


def test_an_aborted_prompt_leaves_the_others_to_be_cut(make_engine: EngineMaker) -> None:
    engine = decoding(make_engine)
    seeded = engine.add(1, PROMPT, 5, seed=7)
    engine.scheduler.finish_requests(seeded.request_id, RequestStatus.FINISHED_ABORTED)
    engine.add(2, PROMPT, 5)
    engine.step()
    assert engine.scheduled[-1]["r2"] < PROMPT // 2
    engine.drain()
    engine.assert_nothing_is_left()


def test_no_step_cuts_an_input_of_a_streaming_session_that_asks_for_a_seed(make_engine: EngineMaker) -> None:
    engine = make_engine(settings=SLOW, change=partial(on, "cpu"))
    engine.add(0, 100, 200)
    engine.add(1, 100, 4, resumable=True)
    engine.step()
    engine.add(1, PROMPT, 5, seed=7, resumable=True)  # its next input, while it decodes
    for _ in range(12):
        engine.step()
    computed = [tokens["r1"] for tokens in engine.scheduled if tokens.get("r1", 1) > 1]
    assert [tokens >= PROMPT for tokens in computed] == [False, True]  # its first input, then the seeded one at once
    engine.add(1, 1, 1)  # the last input
    engine.drain()
    engine.assert_nothing_is_left()
