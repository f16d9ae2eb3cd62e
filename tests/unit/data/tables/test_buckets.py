from pathlib import Path
from typing import Any

import pytest

from augserve.data.tables.buckets import bucketed
from augserve.data.tables.files import TraceError, read_table, rows_to_table, write_table
from augserve.data.tables.sessions import RecordedTurn, read_sessions

SESSIONS, TURNS = 30, 4


def turn(session: str, number: int, **columns: Any) -> dict[str, Any]:
    identity = {"source": "made", "session_id": session, "turn": number}
    return identity | {"arrival_s": 100.0 * number, "prompt_tokens": 50, "output_tokens": 10} | columns


def write(folder: Path, start: int) -> None:
    """Sessions of some turns with a call each; every third is a sub-agent of the one before, which may be one too."""
    turns, calls = [], []
    for at in range(start, start + SESSIONS):
        parent = f"s{at - 1}" if at % 3 and at > start else None
        for number in range(TURNS):
            turns.append(turn(f"s{at}", number, parent_session_id=parent))
            call = {"call": 0, "tool": "search", "start_s": 100.0 * number + 1, "duration_s": 2.0, "timing": "call"}
            calls.append({"source": "made", "session_id": f"s{at}", "turn": number} | call)
    write_table(folder / "turns.parquet", "turns", rows_to_table("turns", turns))
    write_table(folder / "tool_calls.parquet", "tool_calls", rows_to_table("tool_calls", calls))


def key(turns: tuple[RecordedTurn, ...]) -> tuple[str, str]:
    return turns[0].source, turns[0].session_id


def test_the_sessions_of_all_buckets_are_those_of_the_folders(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for number, folder in enumerate(folders):
        write(folder, SESSIONS * number)
    buckets = bucketed(folders, tmp_path / "buckets", bucket_turns=40)
    assert len(buckets) > 3
    in_buckets = [read_sessions(bucket) for bucket in buckets]
    assert sorted((turns for sessions in in_buckets for turns in sessions), key=key) == read_sessions(folders)
    of_tree = {}
    for number, sessions in enumerate(in_buckets):
        for turns in sessions:
            assert of_tree.setdefault(turns[0].split_group, number) == number  # a tree is in one bucket
    assert max(sum(map(len, sessions)) for sessions in in_buckets) < SESSIONS * TURNS


def test_traces_that_fit_one_bucket_stay_where_they_are(tmp_path: Path) -> None:
    write(tmp_path / "one", 0)
    assert bucketed([tmp_path / "one"], tmp_path / "buckets") == [[tmp_path / "one"]]
    assert not (tmp_path / "buckets").exists()


def test_a_bucket_is_a_folder_of_traces(tmp_path: Path) -> None:
    write(tmp_path / "one", 0)
    ((first,), *_) = bucketed([tmp_path / "one"], tmp_path / "buckets", bucket_turns=40)
    assert read_table(first, "turns").schema == read_table(tmp_path / "one", "turns").schema


def test_a_damaged_table_is_one_line_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "turns.parquet").write_text("junk")
    with pytest.raises(TraceError, match=r"turns\.parquet: not a readable Parquet file: .*; gather it again$"):
        bucketed([tmp_path], tmp_path / "buckets")
