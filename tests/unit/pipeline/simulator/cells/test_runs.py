"""Runs with a progress bar."""

from concurrent.futures import Future
from typing import Any, cast

from augserve.pipeline.simulator.cells.runs import counted


def test_counting_changes_no_simulation() -> None:
    def answer(cell: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_result({"cell": cell})
        return future

    with counted(answer, "test") as submit:
        assert cast(Any, submit)("a cell").result() == {"cell": "a cell"}
