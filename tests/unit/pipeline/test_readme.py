from pathlib import Path

import pytest

from augserve.pipeline import readme
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.readme import BEGIN, END, inserted


def test_the_table_stands_between_the_markers_and_nothing_else_changes():
    assert inserted(f"a\n{BEGIN}\nold\n{END}\nb\n", "\nnew\n") == f"a\n{BEGIN}\n\nnew\n\n{END}\nb\n"


def test_inserting_twice_is_inserting_once():
    once = inserted(f"a {BEGIN}{END} b", "t")
    assert inserted(once, "t") == once


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}{BEGIN}", f"{BEGIN}{END}{END}", f"{BEGIN}{BEGIN}{END}"])
def test_missing_or_doubled_markers_are_one_clear_line(text):
    with pytest.raises(StageError, match="markers") as error:
        inserted(text, "t")
    assert "\n" not in str(error.value)


def test_without_a_report_the_readme_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("README.md").write_text(f"{BEGIN}{END}")
    with pytest.raises(StageError, match=r"headline\.md: No such file.*dvc repro report"):
        readme.main()
    assert Path("README.md").read_text() == f"{BEGIN}{END}"
