import numpy as np

from augserve.models.serving.target import OUTPUT_LENGTH
from augserve.models.serving.tool_tables import FOREST, ToolTable, ToolTables
from augserve.runtime.prediction.recognition import FEW, Recognition

FOREST_ANSWER = np.array([50.0, 100.0, 200.0], np.float32)


def tables(*sets: str) -> ToolTables:
    """Sets whose tool `sql` has other lengths: 10 tokens in `short`, 1,000 in `long`."""
    typical = {"short": 10.0, "long": 1000.0}
    key = bytes(16)

    def table(median: float) -> ToolTable:
        logs = tuple(np.log([median / 1.2, median, median * 1.2]).tolist())
        return ToolTable((0.1, 0.1, 0.1), {ToolTables(key).hashed("sql"): logs})

    return ToolTables(key, {name: {OUTPUT_LENGTH.name: table(typical[name])} for name in sets})


def observe(recognition: Recognition, known: ToolTables, tokens: float, count: int, tool: str = "sql") -> None:
    for _ in range(count):
        recognition.observe(OUTPUT_LENGTH.name, FOREST_ANSWER, known.row(tool), tokens)


def test_the_set_that_predicts_this_servers_turns_best_is_chosen() -> None:
    known = tables("short", "long")
    recognition = Recognition(known)
    assert recognition.choice == FOREST
    observe(recognition, known, 900.0, FEW - 1)
    assert recognition.choice == FOREST
    observe(recognition, known, 900.0, 1)
    assert recognition.choice == known.number("long")


def test_the_forest_is_chosen_where_every_table_is_worse() -> None:
    known = tables("short")
    recognition = Recognition(known)
    assert recognition.choice == known.number("short")
    observe(recognition, known, 110.0, FEW)
    assert recognition.choice == FOREST


def test_a_change_of_the_servers_turns_changes_the_choice() -> None:
    known = tables("short", "long")
    recognition = Recognition(known)
    observe(recognition, known, 10.0, 200)
    assert recognition.choice == known.number("short")
    observe(recognition, known, 1000.0, 400)
    assert recognition.choice == known.number("long")


def test_turns_of_unknown_tools_decide_nothing() -> None:
    known = tables("short", "long")
    recognition = Recognition(known)
    observe(recognition, known, 10.0, FEW, tool="never seen")
    assert recognition.choice == FOREST


def test_a_reset_forgets_the_outcomes() -> None:
    known = tables("short", "long")
    recognition = Recognition(known)
    observe(recognition, known, 10.0, FEW)
    recognition.reset()
    assert recognition.choice == FOREST


def test_models_without_tables_observe_nothing() -> None:
    recognition = Recognition(ToolTables())
    recognition.observe(OUTPUT_LENGTH.name, FOREST_ANSWER, 0, 10.0)
    assert recognition.choice == FOREST
