"""Which code runs, of a small project of three modules, and of this one."""

from pathlib import Path

import pytest

from augserve.pipeline.code.graph import CodeGraph
from augserve.pipeline.code.syntax import PARTS, CodeGraphError

SOURCES = {
    "data/__init__.py": "",
    "pipeline/__init__.py": '"""The pipeline."""\n',
    "pipeline/project/stage.py": '''
"""A stage."""
from typing import TYPE_CHECKING
import numpy as np
from ..data.numbers import LIMIT, unused
from ..data import words
if TYPE_CHECKING:
    from .typed import Thing

FOUND: dict = {}
OTHER = 3

def main(thing: "Thing") -> int:
    """Says much."""
    # and more
    from .late import loaded
    return helper(thing) + np.abs(LIMIT) + loaded()

def helper(x):
    return len(words.all_of()) + x

def other():
    return OTHER

if __name__ == "__main__":
    main(1)
''',
    "pipeline/late.py": "def loaded():\n    return 4\n\ndef idle():\n    return 5\n",
    "pipeline/typed.py": "class Thing:\n    pass\n",
    "data/numbers.py": """
from .base import BASE
LIMIT = BASE + 1
SEEN = []
SEEN.append(1)

def unused():
    return 2
""",
    "data/base.py": "BASE = 1\nUNREAD = 2\n",
    "data/words.py": "def all_of():\n    return ('a',)\n\ndef none_of():\n    return ()\n",
    "data/careful.py": """
try:
    from numpy import array
    from .base import BASE as FOUND
except ImportError:
    raise
""",
    "data/table.py": """
from .words import all_of, none_of
from .base import UNREAD
NAME = "named"
MORE = {"a": all_of}
TABLE = {"first": all_of, NAME: none_of, **MORE}

def chosen(key):
    return TABLE[key]
""",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in SOURCES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


def text(project: Path, **changes: tuple[str, str]) -> str:
    """The code of `main`, after a change of one text to another in a module."""
    for name, (old, new) in changes.items():
        path = project / f"{name.replace('__', '/')}.py"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
    return CodeGraph(project).text([("pipeline.stage", "main")])


def test_what_is_named_is_followed_through_modules_and_the_rest_left_out(project: Path) -> None:
    code = text(project)
    for named in ("def main", "def helper", "LIMIT = BASE + 1", "BASE = 1", "def loaded", "def all_of", "def none_of"):
        assert named in code  # a module that is named itself counts whole: which part is used is not seen
    for idle in ("def other", "OTHER", "FOUND", "UNREAD", "def unused", "def idle", "class Thing", "__main__"):
        assert idle not in code


def test_what_a_module_does_at_its_import_belongs_to_all_that_use_it(project: Path) -> None:
    assert "SEEN.append(1)" in text(project)
    assert "SEEN = []" in text(project)


@pytest.mark.parametrize(
    "change",
    [
        {"pipeline__stage": ("# and more", "# and much more")},
        {"pipeline__stage": ('"""Says much."""', '"""Says little."""')},
        {"pipeline__stage": ("-> int", "-> float")},
        {"pipeline__stage": ('main(thing: "Thing")', "main(\n    thing,\n)")},
        {"pipeline__stage": ("OTHER = 3", "OTHER = 4")},
        {"data__base": ("UNREAD = 2", "UNREAD = 3")},
        {"pipeline__typed": ("pass", "x = 1")},
    ],
)
def test_comments_layout_annotations_and_what_is_not_run_change_nothing(
    project: Path, change: dict[str, tuple[str, str]]
) -> None:
    assert text(project) == text(project, **change)


@pytest.mark.parametrize(
    "change",
    [
        {"pipeline__stage": ("return helper(thing)", "return 2 * helper(thing)")},
        {"data__base": ("BASE = 1", "BASE = 2")},
        {"pipeline__late": ("return 4", "return 6")},
        {"data__numbers": ("SEEN.append(1)", "SEEN.append(2)")},
    ],
)
def test_a_change_of_what_is_run_changes_the_text(project: Path, change: dict[str, tuple[str, str]]) -> None:
    assert text(project) != text(project, **change)


def test_what_is_imported_in_a_try_is_found_there_and_followed(project: Path) -> None:
    for name in ("array", "FOUND"):
        code = CodeGraph(project).text([("data.careful", name)])
        assert "from numpy import array" in code
        assert "BASE = 1" in code


def test_what_is_left_out_is_not_followed(project: Path) -> None:
    code = CodeGraph(project).text([("pipeline.stage", "main")], [("data.words", None), ("data.numbers", "LIMIT")])
    assert "def helper" in code
    assert "def all_of" not in code
    assert "BASE" not in code


def test_a_mapping_is_narrowed_to_an_entry_named_by_text_or_by_a_constant(project: Path) -> None:
    def told(*keys: str) -> set[str]:
        narrowed = CodeGraph(project).narrowed(("data.table", "TABLE"), keys)
        code = narrowed.text([("data.table", "chosen")])
        return {name for name in ("all_of", "none_of", "MORE") if f"def {name}" in code or f"{name} =" in code}

    assert told("first") == {"all_of"}
    assert told("named") == {"none_of"}
    assert told("first", "named") == {"all_of", "none_of"}
    assert told("a") == {"MORE", "all_of"}  # it may stand in what is spread out
    assert told() == set()


@pytest.mark.parametrize("name", ["chosen", "NAME"])
def test_what_is_no_mapping_is_not_narrowed(project: Path, name: str) -> None:
    with pytest.raises(CodeGraphError, match=f"{name} is not written out as a mapping"):
        CodeGraph(project).narrowed(("data.table", name), ["first"])


def test_an_import_of_what_is_not_there_is_named(project: Path) -> None:
    with pytest.raises(CodeGraphError, match=r"base\.py: it defines no 'LOST'"):
        text(project, data__numbers=("BASE", "LOST"))


def test_every_module_of_the_project_is_read_and_every_import_found() -> None:
    graph = CodeGraph()
    assert {name.split(".")[0] for name in graph.modules} == set(PARTS)
    reached = graph.reached([(name, None) for name in graph.modules])
    assert {name for name in graph.modules if graph.module(name).definitions} == set(reached)
