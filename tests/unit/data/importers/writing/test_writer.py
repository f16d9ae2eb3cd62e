from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from augserve.data.importers.contract import Record
from augserve.data.importers.reading.problems import ImportingError, Problems
from augserve.data.importers.writing import writer
from augserve.data.importers.writing.seen_keys import SeenKeys
from augserve.data.importers.writing.writer import TraceWriter
from augserve.data.tables.files import read_table


def turn(session_id: str = "s", number: int = 0, **values: Any) -> Record:
    row = {"session_id": session_id, "turn": number, "arrival_s": 10.0, "prompt_tokens": 5, "output_tokens": 2}
    return "turns", row | values


def call(session_id: str = "s", number: int = 0, **values: Any) -> Record:
    row = {"session_id": session_id, "turn": number, "call": 0, "tool": "t", "start_s": 11.0, "duration_s": 1.5}
    return "tool_calls", row | {"timing": "call"} | values


def write(folder: Path, records: Iterable[Record], unique: bool = False, strict: bool = False) -> Problems:
    problems = Problems(strict)
    problems.position = "f:7"
    TraceWriter(folder, None, "set", problems, unique).write(records)
    return problems


def test_written_rows_are_read_back_and_empty_tables_are_readable(tmp_path: Path) -> None:
    records = [turn(finish_s=12.0), call(), turn(number=1, arrival_s=13.5)]
    assert not write(tmp_path, records).skipped
    turns = read_table(tmp_path, "turns").to_pylist()
    assert [(row["source"], row["turn"], row["finish_s"]) for row in turns] == [("set", 0, 12.0), ("set", 1, None)]
    assert read_table(tmp_path, "tool_calls").to_pylist()[0]["duration_s"] == 1.5
    assert read_table(tmp_path, "steps").num_rows == 0


def step(engine: str, number: int = 0) -> Record:
    sizes = {"prefill_tokens": 1, "decode_sequences": 1, "context_tokens": 9, "waiting": 0, "running": 1}
    times = {"start_s": 1.0, "kv_usage": 0.1, "token_budget": 8, "schedule_s": 0.0, "step_s": 0.1}
    return "steps", {"engine": engine, "step": number} | sizes | times


def test_engines_that_number_alike_are_all_kept_and_no_recording_counts_twice(tmp_path: Path) -> None:
    recordings = [[turn(engine=engine), step(engine), step(engine, 1)] for engine in ("0-aa", "1-bb")]
    problems = write(tmp_path, [*recordings[0], *recordings[1], *recordings[0]])
    assert problems.skipped == {"duplicate session and turn": 1, "duplicate step": 2}
    assert sorted(read_table(tmp_path, "turns")["engine"].to_pylist()) == ["0-aa", "1-bb"]
    assert read_table(tmp_path, "steps").num_rows == 4


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (call(duration_s=-0.1), "f:7 (session_id='s' turn=0 call=0): negative duration"),
        (call(duration_s=float("nan")), "f:7 (session_id='s' turn=0 call=0): a time that is no number"),
        (turn(number=2, finish_s=9.0), "f:7 (session_id='s' turn=2): the clock goes backwards: finish before arrival"),
        (
            turn(number=2, first_token_s=9.0),
            "f:7 (session_id='s' turn=2): the clock goes backwards: first token before arrival",
        ),
        (
            turn(number=2, first_token_s=12.0, finish_s=11.0),
            "f:7 (session_id='s' turn=2): the clock goes backwards: finish before first token",
        ),
        (
            turn(number=2, arrival_s=9.5),
            "f:7 (session_id='s' turn=2): the clock goes backwards: arrival before the turn before",
        ),
        (turn(), "f:7 (session_id='s' turn=0): duplicate session and turn"),
        (turn(number=2, prompt_tokens=None), "f:7 (session_id='s' turn=2): no prompt_tokens"),
        (turn(number=2, prompt_tokens="many"), "f:7 (session_id='s' turn=2): a value of the wrong type"),
        (turn(number=2, prompt_tokens=-1), "f:7 (session_id='s' turn=2): negative token count"),
        (turn(number=2, prompt_tokens=1 << 40), "f:7 (session_id='s' turn=2): a value of the wrong type or range"),
        (turn(session_id={"a": 1}), "f:7 (session_id={'a': 1} turn=0): a value of the wrong type"),
    ],
)
def test_a_bad_row_is_named_and_the_rest_is_written(tmp_path: Path, record: Record, message: str) -> None:
    good = [turn(), turn("other"), turn("other", 1)]
    problems = write(tmp_path, [good[0], record, *good[1:]])
    assert problems.named == [message]
    assert read_table(tmp_path, "turns").num_rows == 3
    with pytest.raises(ImportingError, match="f:7"):
        write(tmp_path, [good[0], record], strict=True)


def test_a_duplicate_tool_call_is_named_and_parallel_calls_are_kept(tmp_path: Path) -> None:
    problems = write(tmp_path, [turn(), call(), call(call=1), call(duration_s=9.0)])
    assert problems.named == ["f:7 (session_id='s' turn=0 call=0): duplicate tool call"]
    assert [row["duration_s"] for row in read_table(tmp_path, "tool_calls").to_pylist()] == [1.5, 1.5]


def test_a_duration_of_more_than_a_week_is_named_and_long_or_negative_pauses_are_counted(tmp_path: Path) -> None:
    week_s = 7 * 86400.0
    records = [turn(finish_s=12.0), call(duration_s=week_s + 1), turn(number=1, arrival_s=11.5, finish_s=13.0)]
    records += [turn(number=2, arrival_s=11.9, finish_s=20.0), turn(number=3, arrival_s=week_s + 21)]
    problems = write(tmp_path, records)
    assert problems.named == ["f:7 (session_id='s' turn=0 call=0): a duration of more than 7 days"]
    assert problems.left_out == {
        "turns that begin before the turn before them ends": 1,
        "pauses of more than 7 days between turns": 1,
    }
    assert (read_table(tmp_path, "turns").num_rows, read_table(tmp_path, "tool_calls").num_rows) == (4, 0)


@pytest.mark.parametrize(
    ("hashes", "block_tokens", "cause"),
    [
        ([1, 2, 3], 64, "more block hashes than the prompt has blocks: left out"),
        ([1], None, "block hashes without a block's size: left out"),
        ([1, 2], 64, None),  # the second block is partial
        ([], 64, None),
    ],
)
def test_block_hashes_that_contradict_the_prompt_are_left_out(
    tmp_path: Path, hashes: list[int], block_tokens: int | None, cause: str | None
) -> None:
    row = turn(prompt_tokens=65, block_hashes=hashes, block_tokens=block_tokens, block_scope="s")
    problems = write(tmp_path, [row])
    assert problems.skipped == ({} if cause is None else {cause: 1})
    kept = read_table(tmp_path, "turns").to_pylist()[0]
    expected = (None, None, None) if cause else (hashes, block_tokens, "s")
    assert (kept["block_hashes"], kept["block_tokens"], kept["block_scope"]) == expected


def test_the_calls_of_a_refused_turn_are_refused_too(tmp_path: Path) -> None:
    problems = write(tmp_path, [turn(finish_s=1.0), call(), turn("other"), call("other")])
    assert problems.skipped == {"the clock goes backwards: finish before arrival": 1, "its turn was skipped": 1}
    assert [row["session_id"] for row in read_table(tmp_path, "tool_calls").to_pylist()] == ["other"]


def test_memory_holds_one_batch_whatever_the_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "BATCH_ROWS", 10)
    monkeypatch.setattr(writer, "BATCH_VALUES", 100)
    records = [turn(number=number, features=[0.0] * (50 if number < 8 else 0)) for number in range(48)]
    assert not write(tmp_path, records).skipped
    groups = pq.ParquetFile(tmp_path / "turns.parquet").metadata
    sizes = [groups.row_group(group).num_rows for group in range(groups.num_row_groups)]
    assert sizes == [2, 2, 2, 2, 10, 10, 10, 10]


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 4))))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_each_turn_is_written_once_whatever_the_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: list[tuple[str, int]]
) -> None:
    monkeypatch.setattr(writer, "BATCH_ROWS", 3)
    problems = write(tmp_path, [turn(*key) for key in keys])
    rows = read_table(tmp_path, "turns").to_pylist()
    assert [(row["session_id"], row["turn"]) for row in rows] == list(dict.fromkeys(keys))
    assert problems.skipped.total() == len(keys) - len(rows)


@given(st.lists(st.lists(st.integers(0, 200))))
def test_seen_keys_is_a_set(batches: list[list[int]]) -> None:
    keys, expected = SeenKeys(), set()
    for batch in batches:
        found = keys.add(batch).tolist()
        for key, seen in zip(batch, found, strict=True):
            assert seen == (key in expected)
            expected.add(key)
    assert len(keys) == len(expected)
