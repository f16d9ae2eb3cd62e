import pytest

from augserve.runtime.hints import Hints


def test_what_is_told_is_read() -> None:
    told = {"augserve_tools_offered": 2, "augserve_last_tool": "sql", "augserve_argument_bytes": 9.0, "other": 1}
    assert Hints.read(told) == Hints(tools_offered=2, last_tool="sql", argument_bytes=9)


@pytest.mark.parametrize("value", [None, "", "x" * 1000, 3, ["sql"]])
def test_a_tool_name_that_is_none_is_ignored(value: object) -> None:
    assert Hints.read({"augserve_last_tool": value}) == Hints()


@pytest.mark.parametrize("value", [None, -1, 1 << 31, float("nan"), float("inf"), True, "2"])
def test_a_count_that_is_none_is_ignored(value: object) -> None:
    assert Hints.read({"augserve_argument_count": value}) == Hints()
