"""Two engines, and recordings of their steps."""

from pathlib import Path
from typing import Any

import numpy as np

from augserve.data.tables.files import rows_to_table, write_table
from augserve.models.serving.settings import StepTime
from augserve.pipeline.simulator.profile import EngineLimits, StepProfile
from augserve.pipeline.step_times.steps import RecordedSteps

LIMITS = EngineLimits(kv_tokens=10_000, max_model_len=4_096, max_num_seqs=64, max_num_batched_tokens=2_048)


def profile(name: str, token_s: float, decode_s: float) -> StepProfile:
    table = (0.01, 0.01 + 2_048 * token_s)
    return StepProfile(name, "made", LIMITS, (0, 2_048), table, decode_s, 1e-8, StepTime())


FLAT, STEEP = profile("flat", 1e-5, 1e-4), profile("steep", 1e-3, 1e-6)


def record(folder: Path, engine: StepProfile, factor: float, ahead: bool = False, count: int = 200) -> RecordedSteps:
    """Steps of random sizes on an engine whose KV cache has 50,000 tokens.

    `ahead`: each is scheduled when the one before begins to run.
    """
    random, now_s, before_s = np.random.default_rng(1), 1_000.0, 1_000.0
    rows: list[dict[str, Any]] = []
    for step in range(count):
        prefill, decodes, context = (int(random.integers(*range_)) for range_ in ((0, 500), (1, 20), (5_000, 20_000)))
        step_s = factor * engine.step_s(prefill, decodes, context)
        sizes = {"prefill_tokens": prefill, "decode_sequences": decodes, "context_tokens": context}
        queues = {"waiting": 3, "running": 20, "token_budget": 1_024, "kv_usage": context / 50_000}
        times = {"start_s": before_s if ahead else now_s, "schedule_s": 0.001, "step_s": step_s}
        rows.append({"source": "made", "step": step, **sizes, **queues, **times})
        before_s, now_s = now_s, now_s + step_s
    folder.mkdir()
    write_table(folder / "steps.parquet", "steps", rows_to_table("steps", rows))
    write_table(folder / "turns.parquet", "turns", rows_to_table("turns", []))
    return RecordedSteps.read(folder)
