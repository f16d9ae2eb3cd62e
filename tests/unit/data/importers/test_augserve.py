import io
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from augserve.data.importers.augserve import import_records
from augserve.data.importers.contract import Context, Record
from augserve.data.importers.reading.members import open_members
from augserve.data.importers.reading.problems import Problems
from augserve.data.importers.token_counter import EstimatedTokens
from augserve.data.tables.files import read_rows, rows_to_table, write_table

TURN = {"source": "live", "session_id": "s", "turn": 0, "arrival_s": 1.0, "prompt_tokens": 5, "output_tokens": 2}


def records(path: Path, problems: Problems) -> list[Record]:
    context = Context(problems, EstimatedTokens())
    return list(import_records(open_members([path], (".parquet",), problems), context))


def recorded(folder: Path, count: int = 3) -> Path:
    for number in range(count):
        turns = rows_to_table("turns", [TURN | {"turn": number, "features": [0.1, None]}])
        write_table(folder / f"turns-{number}.parquet", "turns", turns)
    return folder


def test_every_file_of_a_folder_is_read_whole_and_exactly(tmp_path: Path) -> None:
    rows = [dict(row) for _, row in records(recorded(tmp_path), Problems())]
    assert rows_to_table("turns", rows) == pa.concat_tables(
        [pq.read_table(tmp_path / f"turns-{number}.parquet") for number in range(3)]
    )


def test_an_archive_of_recordings_is_read_like_the_folder(tmp_path: Path) -> None:
    recorded(tmp_path / "folder")
    with tarfile.open(tmp_path / "t.tar.xz", "w:xz") as archive:
        archive.add(tmp_path / "folder")
    assert records(tmp_path / "t.tar.xz", Problems()) == records(tmp_path / "folder", Problems())


def test_a_damaged_file_and_one_of_another_release_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    recorded(tmp_path)
    (tmp_path / "turns-0.parquet").write_bytes(b"PAR1 no")
    old = pq.read_table(tmp_path / "turns-1.parquet").replace_schema_metadata({"augserve.schema_version": "1"})
    pq.write_table(old, tmp_path / "turns-1.parquet")
    pq.write_table(old, tmp_path / "other.parquet")
    problems = Problems()
    assert [row["turn"] for _, row in records(tmp_path, problems)] == [2]
    assert problems.named[0].startswith(f"{tmp_path}/turns-0.parquet: not a readable Parquet file: ")
    assert problems.named[1].startswith(f"{tmp_path}/turns-1.parquet: trace schema version 1, this release reads")
    assert problems.left_out == {"files named after none of turns, tool_calls, steps": 1}


def test_trees_prefixes_and_blocks_are_passed_on_and_version_2_is_read(tmp_path: Path) -> None:
    tree = {"parent_session_id": "p", "prefix_id": "x", "prefix_tokens": 3}
    blocks = {"block_hashes": [1, 2], "block_tokens": 2, "block_scope": "live"}
    write_table(tmp_path / "turns-0.parquet", "turns", rows_to_table("turns", [TURN | tree | blocks]))
    old = rows_to_table("turns", [TURN | {"turn": 1}]).drop_columns([*tree, *blocks])
    pq.write_table(old.replace_schema_metadata({"augserve.schema_version": "2"}), tmp_path / "turns-1.parquet")
    first, second = (dict(row) for _, row in records(tmp_path, Problems(strict=True)))
    assert first | tree | blocks == first
    assert {second[name] for name in (*tree, *blocks)} == {None}


def test_rows_come_batch_by_batch(tmp_path: Path) -> None:
    rows = [TURN | {"turn": number} for number in range(10_000)]
    write_table(tmp_path / "turns.parquet", "turns", rows_to_table("turns", rows))
    stream = io.BytesIO((tmp_path / "turns.parquet").read_bytes())
    assert [row["turn"] for row in read_rows(stream, "t", "turns")] == list(range(10_000))


@pytest.mark.parametrize("column", ["arrival_s", "features"])
def test_a_column_of_another_type_is_refused(tmp_path: Path, column: str) -> None:
    table = pq.read_table(recorded(tmp_path, 1) / "turns-0.parquet")
    at = table.schema.get_field_index(column)
    pq.write_table(table.set_column(at, column, pa.array(["text"])), tmp_path / "turns-0.parquet")
    problems = Problems()
    assert records(tmp_path, problems) == []
    assert len(problems.named) == 1
