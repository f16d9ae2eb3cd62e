from typing import Any

import pytest
from hypothesis import given

from augserve.runtime.hints.hints import MAX_CALLS, CallHint, Hints

from ....damage import damaged


def test_well_formed_hints_are_read() -> None:
    told = {
        "augserve_tools_offered": 2,
        "augserve_last_tool": "sql",
        "augserve_argument_bytes": 9.0,
        "augserve_call_id": "c1",
        "augserve_call_id_before": "c0",
        "augserve_tenant": "t",
        "augserve_parent_session_id": "p",
        "other": 1,
    }
    expected = Hints(
        2, (CallHint("sql", argument_bytes=9),), call_id="c1", call_id_before="c0", tenant="t", parent_session_id="p"
    )
    assert Hints.read(told) == expected


def test_parallel_calls_are_read_one_by_one() -> None:
    told = {
        "augserve_last_tool": ["sql", "read"],
        "augserve_argument_bytes": [9, -1],
        "augserve_argument_count": [1, 2, 3],
        "augserve_argument_head": ["", "abcd"],
        "augserve_result_bytes": [5],
    }
    calls = (CallHint("sql", 9, 1), CallHint("read", None, 2, "abcd"))
    assert Hints.read(told).calls == calls
    assert Hints.read(told).tools == ("sql", "read")


def test_the_number_of_calls_is_bounded() -> None:
    assert len(Hints.read({"augserve_last_tool": ["sql"] * 1000}).calls) == MAX_CALLS


@pytest.mark.parametrize("value", [None, "", "x" * 1000, 3, [], [3], [["sql"]], {"sql": 1}])
def test_a_malformed_tool_name_is_ignored(value: object) -> None:
    assert Hints.read({"augserve_last_tool": value}) == Hints()


@pytest.mark.parametrize("value", [None, -1, 1 << 31, float("nan"), float("inf"), True, "2", {}])
def test_a_malformed_count_is_ignored(value: object) -> None:
    told = {"augserve_tools_offered": value, "augserve_last_tool": ["sql"], "augserve_argument_count": [value]}
    assert Hints.read(told) == Hints(calls=(CallHint("sql"),))


@pytest.mark.parametrize(
    "key", ["augserve_tenant", "augserve_call_id", "augserve_call_id_before", "augserve_parent_session_id"]
)
@pytest.mark.parametrize("value", [None, 3, "", "x" * 1000, ["t"]])
def test_a_malformed_name_is_ignored(key: str, value: object) -> None:
    assert Hints.read({key: value}) == Hints()


@pytest.mark.fuzz
@given(damaged({"augserve_last_tool": ["sql", "read"], "augserve_argument_bytes": [9, 1], "augserve_waited": "x:1"}))
def test_damaged_hints_are_read(told: Any) -> None:
    if isinstance(told, dict):
        assert isinstance(Hints.read(told), Hints)
