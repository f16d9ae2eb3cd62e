import dataclasses

import numpy as np
import pytest

from augserve.models.serving.settings import StepTime
from augserve.pipeline.simulator.profile import EngineLimits, PrefillAttention, StepProfile
from augserve.pipeline.step_times.recorded import Steps, fitted

LIMITS = EngineLimits(kv_tokens=100_000, max_model_len=4_096, max_num_seqs=64, max_num_batched_tokens=2_048)
GPU = StepProfile(
    "gpu", "made", LIMITS, (1, 256, 2_048), (0.006, 0.007, 0.05), 1e-5, 1e-8, StepTime(), prefill=PrefillAttention(
        start_s=1e-4, per_token_s=1e-7, per_context_token_s=1e-8, per_pair_s=1e-10
    )
)  # fmt: skip


def steps_of(engine: StepProfile, prompts: int, decodes: int, noise: float = 0.0) -> Steps:
    """500 steps of up to so many prompt tokens and decodes, timed by `engine`."""
    draw = np.random.default_rng(4)
    prefill, running = draw.integers(0, prompts + 1, 500), draw.integers(1, decodes + 1, 500)
    chunk_kv = prefill + draw.integers(0, 3_000, 500) * (prefill > 0)
    pairs = prefill * (chunk_kv - prefill / 2)
    context = chunk_kv + running * draw.integers(100, 30_000, 500)
    sizes = zip(prefill.tolist(), running.tolist(), context.tolist(), chunk_kv.tolist(), pairs.tolist(), strict=True)
    seconds = np.array([engine.step_s(*size) for size in sizes]) * draw.lognormal(0.0, noise, 500)
    return Steps(*(column.astype(float) for column in (prefill, running, context, pairs, chunk_kv)), seconds)


def other(engine: StepProfile) -> StepProfile:
    """An engine of the same kind, on which each term takes another time."""
    assert engine.prefill is not None
    prefill = PrefillAttention(*(3.0 * time_s for time_s in dataclasses.astuple(engine.prefill)))
    table_s = (0.012, 0.012 + 4 * 0.001, 0.012 + 4 * 0.044)
    return dataclasses.replace(engine, table_s=table_s, per_decode_s=8e-5, per_context_token_s=5e-9, prefill=prefill)


def test_each_term_is_scaled_to_the_steps() -> None:
    found = fitted(GPU, steps_of(other(GPU), prompts=1_000, decodes=40))
    assert found.median_error < 0.01
    for sizes in ((0, 4, 60_000), (0, 40, 600_000), (900, 2, 30_000)):
        assert found.profile.step_s(*sizes) == pytest.approx(other(GPU).step_s(*sizes), rel=0.03)


def test_an_engine_seen_with_long_prompts_alone_is_known_with_decodes_alone() -> None:
    """One factor for all terms would take the decodes for as slow as the prompts."""
    seen = steps_of(other(GPU), prompts=2_000, decodes=8, noise=0.1)
    found = fitted(GPU, seen)
    actual_s = other(GPU).step_s(0, 8, 10_000)
    assert found.profile.step_s(0, 8, 10_000) == pytest.approx(actual_s, rel=0.15)
    assert found.factor * GPU.step_s(0, 8, 10_000) > 1.25 * actual_s


def test_the_total_time_is_kept_and_a_term_that_never_occurred_takes_the_common_factor() -> None:
    seen = steps_of(GPU, prompts=0, decodes=40, noise=0.2)
    found = fitted(GPU, seen)
    expected_s = sum(
        found.profile.step_s(0, int(decodes), int(context))
        for decodes, context in zip(seen.decodes, seen.context_tokens, strict=True)
    )
    assert expected_s == pytest.approx(seen.seconds.sum())
    assert found.profile.prefill is not None
    assert GPU.prefill is not None
    assert found.profile.prefill.per_pair_s == pytest.approx(found.factor * GPU.prefill.per_pair_s, rel=0.05)


def test_the_scheduler_s_model_is_fitted_too() -> None:
    linear = StepTime(0.02, 1e-4, 5e-4, 1e-7, per_loaded_token_s=3e-6)
    cpu = StepProfile("cpu", "made", LIMITS, (1, 2_048), (0.0201, 0.2248), 4e-4, 1e-7, linear)
    found = fitted(cpu, steps_of(cpu, prompts=1_000, decodes=40)).profile.linear
    assert dataclasses.astuple(found) == pytest.approx(dataclasses.astuple(linear), rel=0.02, abs=1e-9)
