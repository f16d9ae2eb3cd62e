import xml.etree.ElementTree as ET

import pytest

from augserve.pipeline.results.figures import INK, svg_figure


def draw(path):
    with svg_figure(path, 3, 2, rows=2, columns=2) as (_, axes):
        axes[1, 1].plot([0, 1], [1, 0], label="line")
        axes[1, 1].legend()


def test_a_drawing_becomes_a_whole_svg_with_the_ink_that_the_page_replaces(tmp_path):
    draw(tmp_path / "one.svg")
    assert ET.parse(tmp_path / "one.svg").getroot().tag.endswith("svg")
    assert INK in (tmp_path / "one.svg").read_text()


def test_equal_drawings_give_equal_bytes(tmp_path):
    for name in ("one.svg", "two.svg"):
        draw(tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_a_failed_drawing_leaves_the_old_file(tmp_path):
    draw(path := tmp_path / "one.svg")
    before = path.read_bytes()
    with pytest.raises(ValueError), svg_figure(path, 3, 2):
        raise ValueError
    assert path.read_bytes() == before
