from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from augserve.data.importers.contract import Record
from augserve.data.importers.reading.problems import ImportingError, Problems
from augserve.data.importers.writing import writer
from augserve.data.importers.writing.trees import check_trees
from augserve.data.importers.writing.writer import TraceWriter
from augserve.data.tables.files import read_table


def turn(
    session: str, parent: str | None, start_s: float = 0.0, end_s: float | None = 100.0, number: int = 0
) -> Record:
    row = {"session_id": session, "turn": number, "parent_session_id": parent, "arrival_s": start_s}
    return "turns", row | {"finish_s": end_s, "prompt_tokens": 5, "output_tokens": 2}


def call(session: str, agent: str | None, number: int = 0, duration_s: float = 1.0) -> Record:
    row: dict[str, Any] = {"session_id": session, "turn": 0, "call": number, "tool": "t", "start_s": 100.0}
    return "tool_calls", row | {"duration_s": duration_s, "timing": "call", "agent_session_id": agent}


def written(
    folder: Path, records: Sequence[Record], strict: bool = False
) -> tuple[dict[str, str | None], list[str | None], Problems]:
    """Parents by session, the calls' sub-agents, and the problems."""
    problems = Problems(strict)
    TraceWriter(folder, None, "set", problems, unique=False).write(records)
    check_trees(folder, problems)
    parents = {row["session_id"]: row["parent_session_id"] for row in read_table(folder, "turns").to_pylist()}
    agents = [row["agent_session_id"] for row in read_table(folder, "tool_calls").to_pylist()]
    return parents, agents, problems


def test_a_sound_tree_is_left_as_it_is(tmp_path: Path) -> None:
    records = [turn("c", "p", 50.0), turn("p", None), call("p", "c"), turn("g", "c", 60.0, None), call("c", "g")]
    parents, agents, problems = written(tmp_path, records)
    assert parents == {"p": None, "c": "p", "g": "c"}
    assert agents == ["c", "g"]
    assert not problems.skipped
    assert not problems.left_out


def test_a_parent_that_is_missing_is_removed_with_one_line(tmp_path: Path) -> None:
    records = [turn("c", "gone"), turn("p", None), turn("d", "p")]
    parents, _, problems = written(tmp_path, records)
    assert parents == {"c": None, "p": None, "d": "p"}
    assert problems.named == ["session 'c': its parent is missing: made a session of its own"]
    with pytest.raises(ImportingError, match="its parent is missing"):
        written(tmp_path, records, strict=True)


def test_sessions_in_a_circle_are_on_their_own_and_those_below_stay_below(tmp_path: Path) -> None:
    parents, _, problems = written(tmp_path, [turn("a", "b"), turn("b", "a"), turn("c", "b"), turn("self", "self")])
    assert parents == {"a": None, "b": None, "c": "b", "self": None}
    assert problems.skipped == {"its own ancestor: made a session of its own": 3}


@pytest.mark.parametrize(
    ("child", "within"),
    [
        ((0.0, 100.0), True),
        ((10.0, 100.9), True),  # clocks in whole seconds
        ((10.0, 102.1), False),
        ((10.0, None), True),
        ((110.0, None), False),
        ((-2.0, 50.0), False),
    ],
)
def test_a_child_outside_its_parents_time_is_a_session_of_its_own(
    tmp_path: Path, child: tuple[float, float | None], within: bool
) -> None:
    parents, agents, problems = written(tmp_path, [turn("p", None), call("p", "c"), turn("c", "p", *child)])
    # The call ends at 101 s, and the parent with it.
    assert within == (parents["c"] == "p") == (agents == ["c"])
    assert sum(problems.left_out.values()) == (0 if within else 2)
    assert not problems.skipped


def test_a_parent_whose_last_turn_has_no_end_is_not_outlived(tmp_path: Path) -> None:
    parents, _, _ = written(tmp_path, [turn("p", None), turn("p", None, 200.0, None, 1), turn("c", "p", 50.0, 900.0)])
    assert parents["c"] == "p"


def test_a_call_loses_a_sub_agent_that_is_not_its_sessions_child(tmp_path: Path) -> None:
    records = [
        turn("p", None),
        call("p", "c"),
        call("p", "gone", 1),
        call("p", "q", 2),
        turn("c", "p"),
        turn("q", None),
    ]
    _, agents, problems = written(tmp_path, records)
    assert agents == ["c", None, None]
    assert problems.left_out == {"calls whose sub-agent is not a child of their session: kept without it": 2}


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 7) | st.none()), unique_by=lambda pair: pair[0]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
def test_whatever_the_parents_what_remains_is_a_forest_with_all_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: list[tuple[int, int | None]]
) -> None:
    monkeypatch.setattr(writer, "BATCH_ROWS", 2)
    records = [turn(str(child), None if parent is None else str(parent)) for child, parent in named]
    parents, _, problems = written(tmp_path, records)
    assert set(parents) == {str(child) for child, _ in named}
    for child, parent in parents.items():
        above, steps = parent, 0
        while above is not None:
            above, steps = parents[above], steps + 1
            assert steps <= len(parents), child
    lost = sum(parents[str(child)] is None for child, parent in named if parent is not None)
    assert problems.skipped.total() == lost
