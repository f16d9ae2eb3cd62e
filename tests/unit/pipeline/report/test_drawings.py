import pytest

from augserve.pipeline.report.drawings import figures, inline
from augserve.pipeline.results.figures import INK
from augserve.pipeline.results.metrics_file import ResultsError

SVG = f'<?xml version="1.0"?>\n<svg width="600pt"><g id="axes_1" fill="{INK}"/><use xlink:href="#axes_1"/></svg>'


def test_a_drawing_has_the_text_colour_of_the_page_and_ids_of_its_own():
    text = inline(SVG, "x")
    assert text.startswith("<svg")
    assert 'fill="currentColor"' in text
    assert 'id="x-axes_1"' in text
    assert 'xlink:href="#x-axes_1"' in text


def test_a_drawing_of_two_panels_is_wide(tmp_path):
    (tmp_path / "a.svg").write_text(SVG)
    (tmp_path / "b.svg").write_text(SVG.replace("600pt", "300pt"))
    assert [figure["wide"] for figure in figures(tmp_path, {"a": "A", "b": "B"})] == [True, False]


@pytest.mark.parametrize("text", [None, "no drawing"])
def test_a_file_without_drawing_is_named(tmp_path, text):
    if text is not None:
        (tmp_path / "a.svg").write_text(text)
    with pytest.raises(ResultsError, match=r"a\.svg"):
        figures(tmp_path, {"a": "A"})
