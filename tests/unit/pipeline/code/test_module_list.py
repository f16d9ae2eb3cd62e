from pathlib import Path

import pytest

from augserve.pipeline.code.graph import CodeGraph
from augserve.pipeline.code.module_list import GUIDE, MARKS, module_list, summary
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.readme import inserted

ROOT = Path(__file__).parents[4]


def test_the_guide_lists_every_module_as_it_is_now():
    guide = (ROOT / GUIDE).read_text()
    current = inserted(guide, module_list(CodeGraph().modules), GUIDE, MARKS)
    assert guide == current, "run `python -m augserve.pipeline.code.module_list` in the project's root"


def test_packages_stand_after_the_modules_beside_them_and_before_their_own(tmp_path):
    modules = {name: tmp_path / f"{name}.py" for name in ("data", "data.z", "data.a.b")}
    modules["data.a"] = tmp_path / "a" / "__init__.py"
    modules["data.a"].parent.mkdir()
    for name, path in modules.items():
        path.write_text(f'"""Of {name}. More\nof it."""\n')
    lines = [line for line in module_list(modules).splitlines() if line.startswith("- ")]
    assert lines == ["- `data/z.py`: Of data.z.", "- `data/a/`: Of data.a.", "- `data/a/b.py`: Of data.a.b."]


def test_a_first_sentence_may_run_over_lines(tmp_path):
    path = tmp_path / "x.py"
    path.write_text('"""What it is,\nand `a.b` of it. Then more."""\n')
    assert summary(path) == "What it is, and `a.b` of it."


def test_a_first_line_that_ends_is_taken_whole(tmp_path):
    path = tmp_path / "x.py"
    path.write_text('"""What it is. What it is not.\n\nMore."""\n')
    assert summary(path) == "What it is. What it is not."


def test_a_module_without_a_docstring_is_one_clear_line(tmp_path):
    path = tmp_path / "x.py"
    path.write_text("x = 1\n")
    with pytest.raises(StageError, match=r"x\.py: it has no docstring; say") as error:
        summary(path)
    assert "\n" not in str(error.value)
