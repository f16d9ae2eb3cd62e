"""The support matrix names tests that exist."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[3]
ROWS = re.findall(
    r"^\|(.+)\|(.+)\|(.*)\|$", (PROJECT / "docs" / "guide" / "support.md").read_text("utf-8"), re.MULTILINE
)


def functions_of_tests() -> Iterator[str]:
    for path in (PROJECT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef):
                yield node.name


def test_each_state_that_is_tested_or_refused_names_its_tests() -> None:
    known = set(functions_of_tests())
    assert len(ROWS) > 10
    for feature, state, tests in ROWS[2:]:
        named = re.findall(r"`(\w+)`", tests)
        assert set(named) <= known, feature
        assert bool(named) == ("tested" in state or "refused" in state), feature
