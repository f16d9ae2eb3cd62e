import numpy as np
import pyarrow as pa
import pytest

from augserve.data.traces import rows_to_table, write_table
from augserve.pipeline import profile as stage
from augserve.pipeline.params import ParamsError
from augserve.pipeline.stage import StageError


def steps_file(path, count):
    """Steps of an engine that takes 10 ms + 0.5 ms a prefill token + 2 ms a decode + 1 us a context token."""
    random = np.random.default_rng(1)
    rows = []
    for step in range(count):
        prefill, decodes = int(random.integers(0, 500)), int(random.integers(0, 30))
        context = prefill + decodes * int(random.integers(50, 900))
        seconds = 0.010 + 5e-4 * prefill + 2e-3 * decodes + 1e-6 * context
        rows.append(
            {
                "source": "test",
                "step": step,
                "start_s": float(step),
                "prefill_tokens": prefill,
                "decode_sequences": decodes,
                "context_tokens": context,
                "kv_usage": 0.1,
                "waiting": 0,
                "running": decodes,
                "token_budget": 2048,
                "schedule_s": 1e-4,
                "step_s": seconds,
            }
        )
    table: pa.Table = rows_to_table("steps", rows)
    write_table(path, "steps", table)
    return rows


def test_the_cpu_profile_recovers_the_engine_that_made_the_steps(tmp_path):
    rows = steps_file(tmp_path / "steps.parquet", 400)
    profile, pairs = stage.cpu_profile(tmp_path / "steps.parquet")
    assert profile.residual["median_relative_error"] < 1e-3
    assert profile.linear.base_s == pytest.approx(0.010, rel=0.05)
    assert profile.linear.per_prefill_token_s == pytest.approx(5e-4, rel=0.05)
    assert profile.linear.per_decode_s == pytest.approx(2e-3, rel=0.05)
    row = rows[7]
    counts = row["prefill_tokens"], row["decode_sequences"], row["context_tokens"]
    assert profile.step_s(*counts) == pytest.approx(row["step_s"], rel=0.02)
    assert len(pairs) == sum(row["prefill_tokens"] + row["decode_sequences"] > 0 for row in rows)


def test_too_few_steps_are_an_error(tmp_path):
    steps_file(tmp_path / "steps.parquet", 20)
    with pytest.raises(StageError, match="50 are needed"):
        stage.cpu_profile(tmp_path / "steps.parquet")


@pytest.mark.parametrize("share", [0.0, 1.5, float("nan")])
def test_an_impossible_share_of_memory_is_named(share):
    with pytest.raises(ParamsError, match="gpu_memory_utilization"):
        stage.ProfileParams(share)


def test_the_h100_profile_follows_the_kernels_closely():
    profile, pairs = stage.gpu_profile("h100", stage.ProfileParams(0.92))
    assert profile.residual["median_relative_error"] < 0.05
    assert profile.limits.max_num_batched_tokens == 8192
    assert 430_000 < profile.limits.kv_tokens < 480_000
    assert all(measured > 0 and fitted > 0 for measured, fitted in pairs)
