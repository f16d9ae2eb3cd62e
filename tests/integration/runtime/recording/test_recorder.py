"""The recorder under vLLM's own scheduler."""

import os
import stat
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from vllm.sampling_params import SamplingParams

from augserve.data.tables.pseudonyms import KEY_FILE
from augserve.pipeline.simulator.engine import block_hasher, build_scheduler
from augserve.pipeline.simulator.profile import EngineLimits
from augserve.runtime.scheduler import AugServeScheduler
from augserve.runtime.vllm_compat import ModelRunnerOutput, Request

LIMITS = EngineLimits(kv_tokens=16_384, max_model_len=4096, max_num_seqs=8, max_num_batched_tokens=2048)
PROMPT = list(range(70_001, 70_101))
OUTPUT = 80_007  # token ids that no count or length equals


def serve_a_turn(folder: Path, **section: object) -> dict[str, list[object]]:
    """Record one turn that outputs OUTPUT three times after PROMPT; returns the values of each file."""
    config = {"augserve": {"mode": "observe", "traces": str(folder), **section}}
    scheduler = build_scheduler(AugServeScheduler, LIMITS, config)
    params = SamplingParams(max_tokens=3, ignore_eos=True)
    scheduler.add_request(Request("r", PROMPT, params, None, block_hasher=block_hasher()))
    while scheduler.has_unfinished_requests():
        output = scheduler.schedule()
        scheduler.update_from_output(output, ModelRunnerOutput(["r"], {"r": 0}, [[OUTPUT]]))
    scheduler.shutdown()
    paths = sorted(folder.glob("*.parquet"))
    assert {path.name.split("-")[0] for path in paths} == {"turns", "steps"}
    return {path.name: [value for row in pq.read_table(path).to_pylist() for value in row.values()] for path in paths}


def numbers(value: object) -> set[object]:
    return set().union(*map(numbers, value)) if isinstance(value, list) else {value}


def test_tokens_are_not_recorded_by_default(tmp_path: Path) -> None:
    found = {number for values in serve_a_turn(tmp_path).values() for number in numbers(values)}
    assert 100 in found  # the prompt's length: the turn is there
    assert not found & {*PROMPT, OUTPUT}


def test_tokens_are_recorded_on_request(tmp_path: Path) -> None:
    values = [value for rows in serve_a_turn(tmp_path, traces_text=True).values() for value in rows]
    assert PROMPT in values
    assert [OUTPUT] * 3 in values


def test_nobody_else_may_read_the_traces_whatever_the_umask(tmp_path: Path) -> None:
    folder, before = tmp_path / "traces", os.umask(0)
    try:
        serve_a_turn(folder)
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_a_recorder_without_its_key_records_all_the_same(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_bytes(b"damaged")
    assert serve_a_turn(tmp_path)


@pytest.mark.parametrize("key", ["traces_max_gb", "traces_max_days", "traces_text"])
def test_a_wrong_value_is_refused_at_start(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match=f"augserve.{key}"):
        serve_a_turn(tmp_path, **{key: "many"})
