import dataclasses
from pathlib import Path

import pytest

from augserve.pipeline.project.stage import StageError
from augserve.pipeline.step_times.engine import nearest_engine

from .recording import FLAT, STEEP, record


def test_the_engine_is_the_nearest_profile_scaled_to_the_recorded_times(tmp_path: Path) -> None:
    steps = record(tmp_path / "steps", STEEP, 1.7)
    engine = nearest_engine(steps, [FLAT, STEEP], longest_tokens=6_000)
    assert engine.profile.name == "steep"
    assert engine.factor == pytest.approx(1.7, rel=1e-3)
    assert engine.median_error < 1e-3
    assert engine.profile.step_s(100, 5, 1_000) == pytest.approx(1.7 * STEEP.step_s(100, 5, 1_000), rel=1e-3)


def test_the_limits_are_those_that_the_steps_tell(tmp_path: Path) -> None:
    limits = nearest_engine(record(tmp_path / "steps", FLAT, 1.0), [FLAT], longest_tokens=6_000).profile.limits
    assert limits.kv_tokens == pytest.approx(50_000, rel=1e-3)
    assert (limits.max_num_batched_tokens, limits.max_num_seqs, limits.max_model_len) == (1_024, 20, 6_000)


def test_a_small_kv_cache_has_whole_blocks_and_room_for_the_longest_request(tmp_path: Path) -> None:
    steps = record(tmp_path / "steps", FLAT, 1.0)
    steps.columns["kv_usage"] *= 50_000 / 6_100.5
    limits = nearest_engine(steps, [FLAT], longest_tokens=6_090).profile.limits
    assert limits.kv_tokens % limits.block_tokens == 0
    assert 6_090 <= limits.max_model_len <= limits.kv_tokens < 6_200


@pytest.mark.parametrize(
    ("believed", "nearest"), [(None, "steep"), ("flat", "flat"), ("constant", "steep"), ("other", "steep")]
)
def test_the_believed_profile_is_taken_where_it_is_as_near(tmp_path: Path, believed: str | None, nearest: str) -> None:
    constant = dataclasses.replace(FLAT, name="constant", table_s=(0.1, 0.1), per_decode_s=0.0, per_context_token_s=0.0)
    steps = record(tmp_path / "steps", STEEP, 1.0)
    engine = nearest_engine(steps, [FLAT, constant, STEEP], 6_000, believed)
    assert engine.profile.name == nearest


def test_without_a_profile_no_engine_is_known(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no profile"):
        nearest_engine(record(tmp_path / "steps", FLAT, 1.0), [], 1_000)
