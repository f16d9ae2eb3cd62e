from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from augserve.data.tables.files import read_table, rows_to_table, write_table
from augserve.models.serving.settings import StepTime
from augserve.pipeline.operate.report.engine import nearest_engine
from augserve.pipeline.operate.report.steps import RecordedSteps
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.simulator.fleet.replica import ASYNCHRONOUS, SYNCHRONOUS
from augserve.pipeline.simulator.profile import EngineLimits, StepProfile

LIMITS = EngineLimits(kv_tokens=10_000, max_model_len=4_096, max_num_seqs=64, max_num_batched_tokens=2_048)


def profile(name: str, token_s: float, decode_s: float) -> StepProfile:
    table = (0.01, 0.01 + 2_048 * token_s)
    return StepProfile(name, "made", LIMITS, (0, 2_048), table, decode_s, 1e-8, StepTime())


FLAT, STEEP = profile("flat", 1e-5, 1e-4), profile("steep", 1e-3, 1e-6)


def record(folder: Path, engine: StepProfile, factor: float, overlap_s: float = 0.0, count: int = 200) -> RecordedSteps:
    """Steps of random sizes on an engine whose KV cache has 50,000 tokens."""
    random, now_s = np.random.default_rng(1), 1_000.0
    rows: list[dict[str, Any]] = []
    for step in range(count):
        prefill, decodes, context = (int(random.integers(*range_)) for range_ in ((0, 500), (1, 20), (5_000, 20_000)))
        step_s = factor * engine.step_s(prefill, decodes, context)
        sizes = {"prefill_tokens": prefill, "decode_sequences": decodes, "context_tokens": context}
        queues = {"waiting": 3, "running": 20, "token_budget": 1_024, "kv_usage": context / 50_000}
        times = {"start_s": now_s - overlap_s * (step > 0), "schedule_s": 0.001, "step_s": step_s}
        rows.append({"source": "made", "step": step, **sizes, **queues, **times})
        now_s += step_s
    folder.mkdir()
    write_table(folder / "steps.parquet", "steps", rows_to_table("steps", rows))
    write_table(folder / "turns.parquet", "turns", rows_to_table("turns", []))
    return RecordedSteps.read(folder)


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


def test_steps_that_are_scheduled_ahead_tell_of_asynchronous_scheduling(tmp_path: Path) -> None:
    for overlap_s, batches in ((0.0, SYNCHRONOUS), (0.005, ASYNCHRONOUS)):
        steps = record(tmp_path / str(batches), FLAT, 1.0, overlap_s)
        assert nearest_engine(steps, [FLAT], longest_tokens=6_000).batches == batches


def test_of_several_engines_the_steps_of_the_busiest_count(tmp_path: Path) -> None:
    alone = record(tmp_path / "alone", STEEP, 1.7)
    table = read_table(tmp_path / "alone", "steps")
    parts = {"0-aa": table.slice(0, 120), "0-bb": table.slice(120), "1-cc": table.slice(50, 90)}
    for engine, rows in parts.items():
        named = rows.set_column(rows.schema.get_field_index("engine"), "engine", pa.array([engine] * len(rows)))
        write_table(tmp_path / "both" / f"steps-{engine}.parquet", "steps", named)
    write_table(tmp_path / "both" / "turns.parquet", "turns", rows_to_table("turns", []))
    both = RecordedSteps.read(tmp_path / "both")
    assert both.columns["start_s"].tolist() == alone.columns["start_s"].tolist()


def test_too_few_steps_and_no_profile_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="too few"):
        record(tmp_path / "few", FLAT, 1.0, count=10)
    with pytest.raises(StageError, match="no profile"):
        nearest_engine(record(tmp_path / "steps", FLAT, 1.0), [], 1_000)
