from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.data.tables.files import TraceError, read_rows, read_table, rows_to_table, write_table
from augserve.data.tables.schema import ADDED_COLUMNS, TABLES, TOOL_CALLS, TURNS

WHOLE = st.integers(0, 2**31 - 1)
SECONDS = st.floats(0, 4e9, allow_nan=False)
TURN_ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "source": st.text(max_size=8),
            "session_id": st.text(max_size=8),
            "turn": WHOLE,
            "arrival_s": SECONDS,
            "prompt_tokens": WHOLE,
            "output_tokens": WHOLE,
        },
        optional={
            "finish_s": SECONDS,
            "structured": st.booleans(),
            "features": st.lists(st.floats(width=32, allow_nan=False), max_size=3),
        },
    ),
    max_size=4,
)


def turn(**changes: Any) -> dict[str, Any]:
    row = {"source": "s", "session_id": "a", "turn": 0, "arrival_s": 1.0, "prompt_tokens": 5, "output_tokens": 3}
    return row | changes


@given(rows=TURN_ROWS)
def test_rows_come_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    path = tmp_path_factory.mktemp("traces") / "turns.parquet"
    write_table(path, "turns", rows_to_table("turns", rows))
    read = read_table(path, "turns")
    assert read.schema.equals(TURNS, check_metadata=True)
    assert read.to_pylist() == [{name: row.get(name) for name in TURNS.names} for row in rows]


def test_a_folder_is_read_file_after_file(tmp_path: Path) -> None:
    for index in (1, 0):
        write_table(tmp_path / f"turns-{index}.parquet", "turns", rows_to_table("turns", [turn(turn=index)]))
    assert read_table(tmp_path, "turns").column("turn").to_pylist() == [0, 1]


@pytest.mark.parametrize("column", TURNS.names)
def test_a_missing_column_is_named_with_its_file(tmp_path: Path, column: str) -> None:
    path = tmp_path / "turns.parquet"
    pq.write_table(rows_to_table("turns", [turn()]).drop_columns([column]), path)
    with pytest.raises(TraceError, match=rf"turns\.parquet.*{column}"):
        read_table(path, "turns")


def test_an_unknown_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "turns.parquet"
    pq.write_table(rows_to_table("turns", [turn()]).append_column("extra", pa.array([1])), path)
    with pytest.raises(TraceError, match="extra"):
        read_table(path, "turns")


def version_2(table: pa.Table) -> pa.Table:
    new = [name for name in table.schema.names if name in ADDED_COLUMNS[3] | ADDED_COLUMNS[4]]
    return table.drop_columns(new).replace_schema_metadata({"augserve.schema_version": "2"})


def test_a_table_of_version_2_is_read_with_nulls_in_the_new_columns(tmp_path: Path) -> None:
    pq.write_table(version_2(rows_to_table("turns", [turn(turn=0)])), tmp_path / "turns-0.parquet")
    write_table(tmp_path / "turns-1.parquet", "turns", rows_to_table("turns", [turn(turn=1, parent_session_id="p")]))
    read = read_table(tmp_path, "turns")
    assert read.schema.equals(TURNS, check_metadata=True)
    assert read.column("parent_session_id").to_pylist() == [None, "p"]
    assert read_table(tmp_path, "turns", ["prefix_id", "turn"]).to_pylist() == [
        {"prefix_id": None, "turn": 0},
        {"prefix_id": None, "turn": 1},
    ]
    with (tmp_path / "turns-0.parquet").open("rb") as stream:
        assert list(read_rows(stream, "f", "turns")) == [read.to_pylist()[0]]


def test_a_table_of_version_2_that_lacks_an_old_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "turns.parquet"
    pq.write_table(version_2(rows_to_table("turns", [turn()])).drop_columns(["tenant"]), path)
    with pytest.raises(TraceError, match="tenant"):
        read_table(path, "turns")


def test_each_added_column_is_one_of_a_table_and_may_be_null() -> None:
    fields = {field.name: field for table in (TURNS, TOOL_CALLS) for field in table}
    assert all(fields[name].nullable for added in ADDED_COLUMNS.values() for name in added)


def test_block_hashes_of_a_growing_context_take_few_bytes(tmp_path: Path) -> None:
    path = tmp_path / "turns.parquet"
    rows = [turn(turn=number, block_hashes=list(range(20 * number))) for number in range(200)]
    write_table(path, "turns", rows_to_table("turns", rows))
    assert path.stat().st_size < 50_000  # 398,000 hashes
    assert read_table(path, "turns", ["block_hashes"]).to_pylist()[199] == {"block_hashes": rows[199]["block_hashes"]}


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "turns.parquet"
    pq.write_table(rows_to_table("turns", [turn()]).replace_schema_metadata({"augserve.schema_version": "99"}), path)
    with pytest.raises(TraceError, match="99"):
        read_table(path, "turns")


def test_a_file_that_is_no_parquet_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "turns.parquet"
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(TraceError, match="parquet") as caught:
        read_table(path, "turns")
    assert "\n" not in str(caught.value)


def test_a_file_whose_names_are_no_text_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "turns.parquet"
    write_table(path, "turns", rows_to_table("turns", [turn()]))
    path.write_bytes(path.read_bytes().replace(b"session_id", b"\x80ession_id"))
    with path.open("rb") as stream, pytest.raises(TraceError, match="not a readable Parquet file"):
        list(read_rows(stream, "here", "turns"))
    with pytest.raises(TraceError, match="not a readable Parquet file"):
        read_table(path, "turns")


def test_an_ill_typed_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "turns.parquet"
    table = rows_to_table("turns", [turn()])
    at = table.schema.get_field_index("prompt_tokens")
    pq.write_table(table.set_column(at, "prompt_tokens", pa.array(["many"])), path)
    with pytest.raises(TraceError, match=r"turns\.parquet"):
        read_table(path, "turns")


def test_a_missing_file_and_an_empty_folder_say_where(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="parquet"):
        read_table(tmp_path / "nowhere.parquet", "turns")
    with pytest.raises(TraceError, match="steps"):
        read_table(tmp_path, "steps")


def test_rows_with_an_unknown_key_or_without_a_required_value_are_refused() -> None:
    with pytest.raises(TraceError, match="color"):
        rows_to_table("turns", [turn(color="red")])
    with pytest.raises(TraceError, match="session_id"):
        rows_to_table("turns", [turn(session_id=None)])
    with pytest.raises(TraceError, match="turns"):
        rows_to_table("turns", [turn(prompt_tokens="many")])


def test_a_refused_table_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(TraceError):
        write_table(tmp_path / "turns.parquet", "turns", rows_to_table("turns", [turn()]).drop_columns(["turn"]))
    assert not list(tmp_path.iterdir())


def test_every_table_has_a_source_and_the_same_version() -> None:
    for schema in TABLES.values():
        assert schema.names[0] == "source"
        assert schema.metadata == TURNS.metadata
