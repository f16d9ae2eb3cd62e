import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.models.serving.target import OUTPUT_LENGTH
from augserve.models.serving.tool_tables import (
    FOREST,
    TABLES,
    UNKNOWN,
    TableError,
    ToolTable,
    ToolTables,
    blend,
)

KEY = bytes(range(16))
PREDICTED = np.array([[10.0, 20.0, 40.0], [10.0, 20.0, 40.0]], np.float32)


def made(shares: tuple[float, ...] = (0.5, 0.5, 0.5)) -> ToolTables:
    """One set, where `sql` has quantiles 1, 5 and 10 tokens."""
    logs = tuple(np.log([1.0, 5.0, 10.0]).tolist())
    table = ToolTable(shares, {ToolTables(KEY).hashed("sql"): logs})
    return ToolTables(KEY, {"here": {OUTPUT_LENGTH.name: table}})


def rows(tables: ToolTables, *tools: str | None) -> np.ndarray:
    return np.array([tables.row(tool) for tool in tools])


def test_a_share_of_a_half_is_the_geometric_mean_of_forest_and_table() -> None:
    tables = made()
    blended = tables.blended(OUTPUT_LENGTH.name, tables.number("here"), PREDICTED, rows(tables, "sql", "sql"))
    np.testing.assert_allclose(blended, [[10**0.5, 10.0, 20.0]] * 2, rtol=1e-5)


def test_an_unknown_tool_is_predicted_by_the_forest_alone() -> None:
    tables = made((0.0, 0.0, 0.0))
    assert tables.row("never seen") == tables.row(None) == UNKNOWN
    blended = tables.blended(OUTPUT_LENGTH.name, tables.number("here"), PREDICTED, rows(tables, "never seen", None))
    np.testing.assert_allclose(blended, PREDICTED, rtol=1e-6)


def test_the_choice_without_tables_leaves_the_forest_as_it_is() -> None:
    tables = made()
    assert tables.number("elsewhere") == FOREST
    assert tables.blended(OUTPUT_LENGTH.name, FOREST, PREDICTED, rows(tables, "sql", "sql")) is PREDICTED


@given(
    st.lists(st.floats(0, 1), min_size=3, max_size=3),
    st.lists(st.floats(-18, 18), min_size=3, max_size=3).map(sorted),
    st.lists(st.floats(-18, 18), min_size=3, max_size=3).map(sorted),
)
def test_a_blend_is_ordered_and_lies_between_its_parts(
    shares: list[float], forest: list[float], table: list[float]
) -> None:
    predicted, logs = np.exp(np.array([forest], np.float32)), np.array([table], np.float32)
    blended = np.log(blend(predicted, logs, np.array([shares], np.float32)))[0]
    assert np.all(np.diff(blended) >= 0)
    assert np.all(blended >= min(forest[0], table[0]) - 1e-3)
    assert np.all(blended <= max(forest[2], table[2]) + 1e-3)


def test_every_choice_of_one_row_starts_with_the_forest() -> None:
    tables = made((0.0, 0.0, 0.0))
    every = tables.every(OUTPUT_LENGTH.name, PREDICTED[0], tables.row("sql"))
    np.testing.assert_allclose(every, [PREDICTED[0], [1.0, 5.0, 10.0]], rtol=1e-5)


def test_rendered_tables_are_read_again_and_hold_no_name() -> None:
    tables = made()
    text = tables.render(TABLES)
    assert "sql" not in text
    assert ToolTables.parse([text]) == tables
    assert ToolTables.parse([tables.render([OUTPUT_LENGTH.name]), tables.render([])]) == tables


def test_models_without_tables_predict_as_the_forest() -> None:
    assert ToolTables.parse([]).choices == FOREST + 1


def spoiled(**changes: object) -> str:
    return json.dumps(json.loads(made().render(TABLES)) | changes)


@pytest.mark.parametrize(
    "content",
    [
        "no JSON",
        "[]",
        spoiled(key="00"),
        spoiled(key=None),
        spoiled(sets=[]),
        spoiled(sets={"here": {"nothing": {"shares": [1, 1, 1], "tools": {}}}}),
        spoiled(sets={"here": {"output_length": {"shares": [2, 1, 1], "tools": {}}}}),
        spoiled(sets={"here": {"output_length": {"shares": [1, 1], "tools": {}}}}),
        spoiled(sets={"here": {"output_length": {"shares": [1, 1, 1], "tools": {"a": [3, 2, 1]}}}}),
        spoiled(sets={"here": {"output_length": {"shares": [1, 1, 1], "tools": {"a": [1, 2, float("nan")]}}}}),
        spoiled(sets={f"set {number}": {} for number in range(2**17)} | json.loads(made().render(TABLES))["sets"]),
    ],
)
def test_unusable_tables_are_refused_in_one_line(content: str) -> None:
    with pytest.raises(TableError, match="export the models again") as error:
        ToolTables.parse([content])
    assert "\n" not in str(error.value)
