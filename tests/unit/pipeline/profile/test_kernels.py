import functools

import numpy as np
import pytest

from augserve.pipeline.profile.engines import ENGINES
from augserve.pipeline.profile.fit import Work
from augserve.pipeline.profile.kernels import Kernels, gpu_profile
from augserve.pipeline.project.stage import StageError


@functools.cache
def made(name):
    return gpu_profile(name, ENGINES[name], 0.92)


@pytest.mark.parametrize("name", ENGINES)
def test_each_profile_follows_its_kernels_in_every_region(name):
    profile, works, seconds = made(name)
    errors = {key: value for key, value in profile.residual.items() if key.endswith("median_relative_error")}
    assert {"decode_median_relative_error", "mixed_median_relative_error", "prefill_median_relative_error"} <= set(
        errors
    )
    assert {key: error for key, error in errors.items() if error >= 0.1} == {}
    assert profile.name == name
    assert len(works) == len(seconds)
    assert all(seconds > 0)


def test_steps_are_composed_as_in_the_library():
    kernels = Kernels.of(ENGINES["llama-3.1-8b-h100"])
    for tokens, decodes, length in ((0, 16, 2048), (512, 16, 512), (2048, 0, 512)):
        work = Work(min(tokens, length), max(1, tokens // length), 0, decodes, length if decodes else 0)
        assert kernels.step_s(work) == pytest.approx(
            kernels.handle.mixed_step_latency(tokens, decodes, length, 2) / 1000
        )


def test_a_chunk_deep_in_its_prompt_takes_the_kernels_time():
    profile, _, _ = made("llama-3.1-8b-h100")
    kernels = Kernels.of(ENGINES["llama-3.1-8b-h100"])
    near, far = Work(512, 1, 0, 0, 0), Work(512, 1, 65_024, 0, 0)
    assert kernels.step_s(far) > 3 * kernels.step_s(near)
    assert far.seconds(profile) == pytest.approx(kernels.step_s(far), rel=0.05)


def test_chunks_of_a_prompt_take_at_least_what_the_whole_prompt_takes():
    kernels = Kernels.of(ENGINES["llama-3.1-8b-h100"])
    chunks = sum(kernels.prefill_attention_s(512, 1, prefix) for prefix in range(0, 8192, 512))
    assert 1 <= chunks / kernels.prefill_attention_s(8192, 1, 0) < 1.6


def test_held_out_steps_fit_the_engine():
    profile, works, _ = made("qwen3-32b-h100")
    limits = profile.limits
    assert max(work.context for work in works) <= limits.max_model_len
    assert max(work.tokens + work.decodes for work in works) <= limits.max_num_batched_tokens
    assert {work.region for work in works} == {"decode", "mixed", "prefill"}


def test_memory_without_room_for_a_cache_is_an_error():
    with pytest.raises(StageError, match=r"qwen3-32b-h100.*0\.5.*params\.yaml"):
        gpu_profile("qwen3-32b-h100", ENGINES["qwen3-32b-h100"], 0.5)


def test_the_shipped_profile_of_the_default_engine_is_reproduced():
    first, _, seconds = made("llama-3.1-8b-a100")
    second, _, again = gpu_profile("llama-3.1-8b-a100", ENGINES["llama-3.1-8b-a100"], 0.92)
    assert first == second
    assert np.array_equal(seconds, again)
