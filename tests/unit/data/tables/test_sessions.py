import math
from array import array
from pathlib import Path
from typing import Any

import pytest

from augserve.data.tables.files import TraceError, rows_to_table, write_table
from augserve.data.tables.sessions import RecordedTurn, read_sessions

Rows = list[dict[str, Any]]


def turn(session: str = "s", number: int = 0, arrival_s: float = 100.0, **columns: Any) -> dict[str, Any]:
    identity = {"source": "made", "session_id": session, "turn": number}
    return identity | {"arrival_s": arrival_s, "prompt_tokens": 50, "output_tokens": 10} | columns


def call(session: str = "s", number: int = 0, index: int = 0, tool: str = "search", **columns: Any) -> dict[str, Any]:
    identity = {"source": "made", "session_id": session, "turn": number, "call": index, "tool": tool}
    return identity | {"start_s": 101.0, "duration_s": 2.0, "timing": "call"} | columns


def read(folder: Path, turns: Rows, calls: Rows, vectors: bool = True) -> list[tuple[RecordedTurn, ...]]:
    write_table(folder / "turns.parquet", "turns", rows_to_table("turns", turns))
    write_table(folder / "tool_calls.parquet", "tool_calls", rows_to_table("tool_calls", calls))
    return read_sessions([folder], vectors)


def test_sessions_turns_and_calls_are_ordered_by_name_and_number(tmp_path: Path) -> None:
    turns = [turn("b"), turn("a", 1), turn("a", 0)]
    calls = [call("a", 0, 1, "second"), call("a", 0, 0, "first"), call("b", 0, 0, "other")]
    first, second = read(tmp_path, turns, calls)
    assert [(one.session_id, one.turn) for one in first] == [("a", 0), ("a", 1)]
    assert [[made.tool for made in one.calls] for one in first] == [["first", "second"], []]
    assert second[0].calls[0].end_s == 103.0


def test_a_folder_without_tool_calls_has_turns_without_calls(tmp_path: Path) -> None:
    write_table(tmp_path / "turns.parquet", "turns", rows_to_table("turns", [turn()]))
    assert read_sessions([tmp_path])[0][0].calls == ()


def test_the_split_group_is_the_recorded_one_or_the_session(tmp_path: Path) -> None:
    sessions = read(tmp_path, [turn("a", split_group="conversation"), turn("b")], [])
    assert [turns[0].split_group for turns in sessions] == ["conversation", "b"]


def test_a_tree_is_in_the_split_group_of_its_root(tmp_path: Path) -> None:
    turns = [turn("root"), turn("child", parent_session_id="root"), turn("deep", parent_session_id="child")]
    turns += [turn("named", split_group="g"), turn("below", parent_session_id="named", split_group="other")]
    turns += [turn(name, parent_session_id="gone") for name in ("one", "two")]  # the group of a root not recorded
    turns += [turn("x", parent_session_id="y"), turn("y", parent_session_id="x"), turn("z", parent_session_id="y")]
    groups = {rows[0].session_id: rows[0].split_group for rows in read(tmp_path, turns, [])}
    assert {groups[name] for name in ("root", "child", "deep")} == {"root"}
    assert {groups[name] for name in ("named", "below")} == {"g"}
    assert {groups[name] for name in ("one", "two")} == {"gone"}
    assert len({groups[name] for name in ("x", "y", "z")}) == 1


def test_vectors_are_read_only_on_request(tmp_path: Path) -> None:
    rows = [turn(features=[1.0, None], tail_counts=[3])]
    assert read(tmp_path, rows, [])[0][0].features == [1.0, None]
    without = read(tmp_path, rows, [], vectors=False)[0][0]
    assert (without.features, without.tail_counts) == (None, None)


def test_block_hashes_are_read_only_on_request_and_as_an_array(tmp_path: Path) -> None:
    rows = [turn(number=0, block_hashes=[5, -1]), turn(number=1), turn(number=2, block_hashes=[])]
    assert {row.block_hashes for row in read(tmp_path, rows, [])[0]} == {None}
    found = [row.block_hashes for row in read_sessions([tmp_path], blocks=True)[0]]
    assert found == [array("q", [5, -1]), None, array("q")]


def test_a_restart_renames_parents_and_sub_agents_too(tmp_path: Path) -> None:
    turns = [turn("p", arrival_s=arrival_s) for arrival_s in (100.0, 9000.0)]
    turns += [turn("c", arrival_s=arrival_s, parent_session_id="p") for arrival_s in (102.0, 9002.0)]
    calls = [call("p", agent_session_id="c", start_s=start_s, duration_s=5.0) for start_s in (101.0, 9001.0)]
    sessions = {rows[0].session_id: rows[0] for rows in read(tmp_path, turns, calls)}
    assert {name: row.parent_session_id for name, row in sessions.items()} == {
        "p": None,
        "p#1": None,
        "c": "p",
        "c#1": "p#1",
    }
    assert [sessions[name].calls[0].agent_session_id for name in ("p", "p#1")] == ["c", "c#1"]


def test_a_restart_divides_a_session_and_its_calls(tmp_path: Path) -> None:
    turns = [turn(arrival_s=arrival_s, number=number) for arrival_s, number in [(100, 0), (106, 1), (9000, 0)]]
    late, early = read(tmp_path, turns, [call(tool="early"), call(tool="late", start_s=9001.0)])
    assert [len(early), len(late)] == [2, 1]
    assert [early[0].calls[0].tool, late[0].calls[0].tool] == ["early", "late"]
    assert early[0].session_id != late[0].session_id
    assert early[0].split_group == late[0].split_group == "s"


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(
    ("column", "table"),
    [("arrival_s", "turns"), ("finish_s", "turns"), ("start_s", "tool_calls"), ("duration_s", "tool_calls")],
)
def test_a_time_that_is_not_finite_is_named(tmp_path: Path, column: str, table: str, value: float) -> None:
    turns, calls = [turn()], [call()]
    (turns if table == "turns" else calls)[0][column] = value
    with pytest.raises(TraceError, match=rf"{column}.*{table}"):
        read(tmp_path, turns, calls)


def test_a_duplicate_turn_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"turn 0 .* 's'"):
        read(tmp_path, [turn(), turn()], [])


def test_a_duplicate_call_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"call 0 of turn 0 .* 's'"):
        read(tmp_path, [turn()], [call(), call()])


def test_a_turn_in_two_folders_is_a_duplicate(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_table(tmp_path / name / "turns.parquet", "turns", rows_to_table("turns", [turn()]))
    with pytest.raises(TraceError, match="two"):
        read_sessions([tmp_path / "one", tmp_path / "two"])
