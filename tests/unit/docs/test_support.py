"""The support matrix names tests that exist."""

import ast
from collections.abc import Iterator
from pathlib import Path

from augserve.runtime.vllm_compat.serve.combinations import COMBINATIONS

PROJECT = Path(__file__).parents[3]


def functions_of_tests() -> Iterator[str]:
    for path in (PROJECT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef):
                yield node.name


def test_each_state_that_is_tested_or_refused_names_its_tests() -> None:
    known = set(functions_of_tests())
    for row in COMBINATIONS:
        assert set(row.tests) <= known, row.feature
        assert bool(row.tests) == (row.state != "unknown"), row.feature
