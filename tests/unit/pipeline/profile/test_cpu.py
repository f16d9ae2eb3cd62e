import logging

import numpy as np
import pytest

from augserve.data.tables.files import rows_to_table, write_table
from augserve.pipeline.profile.cpu import cpu_profile
from augserve.pipeline.project.stage import StageError


def test_the_profile_recovers_the_engine_of_generated_steps(tmp_path, steps_file):
    rows = steps_file(tmp_path / "steps.parquet", 400)
    profile, measured, fitted = cpu_profile(tmp_path / "steps.parquet")
    assert profile.residual["median_relative_error"] < 1e-3
    assert profile.linear.base_s == pytest.approx(0.010, rel=0.05)
    assert profile.linear.per_prefill_token_s == pytest.approx(5e-4, rel=0.05)
    assert profile.linear.per_decode_s == pytest.approx(2e-3, rel=0.05)
    row = rows[7]
    counts = row["prefill_tokens"], row["decode_sequences"], row["context_tokens"]
    assert profile.step_s(*counts) == pytest.approx(row["step_s"], rel=0.02)
    assert len(measured) == len(fitted) == profile.residual["steps"]


def test_known_pairs_make_prompts_behind_long_contexts_slower(tmp_path, steps_file):
    random, pair_s = np.random.default_rng(4), 2e-7
    rows = steps_file(tmp_path / "steps.parquet", 400)
    prompts = np.array([row["prefill_tokens"] for row in rows])
    pairs = prompts * random.uniform(0, 4000, len(rows))
    for row, count in zip(rows, pairs, strict=True):
        row["step_s"] += pair_s * count
    write_table(tmp_path / "steps.parquet", "steps", rows_to_table("steps", rows))
    profile, _, _ = cpu_profile(tmp_path / "steps.parquet", pairs)
    assert profile.prefill is not None
    assert profile.prefill.per_pair_s == pytest.approx(pair_s, rel=0.05)
    assert profile.residual["median_relative_error"] < 1e-3
    assert profile.linear.per_pair_s == pytest.approx(pair_s, rel=0.05)
    assert profile.linear.per_prefill_token_s == pytest.approx(5e-4, rel=0.05)
    plain, _, _ = cpu_profile(tmp_path / "steps.parquet")
    assert plain.prefill is None
    assert plain.residual["median_relative_error"] > 2e-3


def test_a_busy_stretch_does_not_shift_the_fit(tmp_path, steps_file):
    steps_file(tmp_path / "steps.parquet", 600, slowness=lambda step: 6.0 if 100 <= step < 250 else 1.0)
    profile, _, _ = cpu_profile(tmp_path / "steps.parquet")
    assert profile.linear.per_prefill_token_s == pytest.approx(5e-4, rel=0.05)
    assert 430 <= profile.residual["steps"] <= 470
    assert profile.residual["all_steps_steps"] == pytest.approx(600, abs=5)
    assert profile.residual["all_steps_total_time_error"] < -0.3  # stated, not hidden


def test_noisy_steps_log_a_warning(tmp_path, steps_file, caplog):
    random = np.random.default_rng(2)
    steps_file(tmp_path / "steps.parquet", 3000, slowness=lambda step: float(random.lognormal(0, 1)))
    with caplog.at_level(logging.WARNING):
        cpu_profile(tmp_path / "steps.parquet")
    assert "steps.parquet: equal steps differ" in caplog.text


def test_too_few_steps_are_an_error(tmp_path, steps_file):
    steps_file(tmp_path / "steps.parquet", 20)
    with pytest.raises(StageError, match="50"):
        cpu_profile(tmp_path / "steps.parquet")
