import dataclasses
import json
import re
from html.parser import HTMLParser

import pytest

from augserve.data.atomic import write_json
from augserve.models.serving.target import QUANTILE_TARGETS
from augserve.pipeline.project import paths
from augserve.pipeline.report import run as report
from augserve.pipeline.report.page import EVALUATION_FIGURES, PREDICTED, TUNING_FIGURES, engines, html, page, predictors
from augserve.pipeline.results.documents import evaluation_markdown, headline_markdown
from augserve.pipeline.results.figures import INK
from augserve.pipeline.results.metrics_file import ResultsError, write_results
from augserve.pipeline.results.tables import markdown, policies

from .test_drawings import SVG

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """Ids, addresses and text of a page; fails where elements do not nest."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.addresses, self.open, self.text = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.handle_startendtag(tag, attrs)

    def handle_startendtag(self, tag, attrs):
        named = dict(attrs)
        self.ids += [named["id"]] if "id" in named else []
        self.addresses += [named[name] for name in ("src", "href", "xlink:href", "action", "data") if name in named]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def reports(tmp_path, results):
    for folder, names in {"evaluate": EVALUATION_FIGURES, "tune": TUNING_FIGURES, "train": (), "profile": ()}.items():
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / f"{name}.svg").write_text(SVG)
    write_results(tmp_path / "evaluate" / "metrics.json", results)
    (tmp_path / "evaluate" / "table.md").write_text(evaluation_markdown(results))
    (tmp_path / "tune" / "table.md").write_text("| settings |\n|---|\n| start 1 |\n")
    trained = {"mix<>": {"output_length": {"mae": 70.123, "mae_baseline": 75, "kendall_tau": 0.4, "coverage_80": 0.8}}}
    (tmp_path / "train" / "metrics.json").write_text(json.dumps(trained))
    fitted = {"median_relative_error": 0.234, "nearest": "p", "factor": 1.5, "steps": 2000.0, "kv_tokens": 50_000}
    engines = {"p": {"median_relative_error": 0.01, "kv_tokens": 9}, "mine": fitted}
    (tmp_path / "profile" / "metrics.json").write_text(json.dumps(engines))
    return tmp_path


@pytest.fixture
def written(reports, results, selection):
    """Writes the page again."""
    return lambda: page(reports, headline_markdown(results, selection), markdown(policies(results)))


def test_every_link_leads_to_a_section(written):
    parsed = Page(written())
    links = [address[1:] for address in parsed.addresses if address.startswith("#") and "figure" not in address]
    assert "headline" in links
    assert set(links) <= set(parsed.ids)


def test_the_page_makes_no_request(written):
    text = written()
    assert all(address.startswith(("#", "data:,")) for address in Page(text).addresses)
    for reference in (r"url\((?!#)", "@import", "<script", "<iframe", "<img", "srcset"):
        assert not re.search(reference, text)


def test_ids_are_unique(reports, written):
    (reports / "compare").mkdir()
    (reports / "compare" / "goodput.svg").write_text(SVG)
    ids = Page(written()).ids
    assert "figure-compare-goodput" in ids
    assert len(ids) == len(set(ids))


def test_figures_follow_the_colours_of_the_reader(written):
    text = written()
    assert INK not in text
    assert "prefers-color-scheme: dark" in text


def test_every_table_scrolls_inside_the_width_of_a_phone(written):
    text = written()
    assert 'name="viewport" content="width=device-width' in text
    assert len(re.findall("<table>", text)) == len(re.findall(r'<div class="wide"><table>', text)) > 5


def test_names_from_data_are_escaped(written):
    assert "mix&lt;&gt;" in written()
    assert "mix<>" not in written()


def test_the_rows_of_augserve_are_marked():
    assert html("| policy |\n|---|\n| augserve |\n| vllm |\n").count('class="ours"') == 1
    agents = "| agents | policy |\n|--:|---|\n| 8 | AugServe |\n| 8 | stock vLLM |\n"
    assert html(agents).count('class="ours"') == 1


def test_headings_of_documents_stand_below_those_of_the_page():
    assert "<h3>" in html("## title")
    assert "<h2>" not in html("## title")


def test_commands_stand_for_reports_that_are_missing(written):
    for command in ("make compare", "make fidelity", "make live"):
        assert command in written()


@pytest.mark.parametrize("folder", ["compare", "fidelity", "live"])
def test_an_optional_report_is_shown_where_there_is_one(reports, written, folder):
    (reports / folder).mkdir()
    (reports / folder / "table.md").write_text("| metric |\n|---|\n| a figure |\n")
    assert "a figure" in written()
    assert f"make {folder}" not in written()


@pytest.mark.parametrize(
    "lost", ["evaluate/ttft.svg", "evaluate/table.md", "tune/table.md", "train/metrics.json", "profile/metrics.json"]
)
def test_a_missing_report_is_one_line_with_its_name(reports, written, lost):
    (reports / lost).unlink()
    with pytest.raises(ResultsError, match=lost) as error:
        written()
    assert "\n" not in str(error.value)


def test_an_own_engine_is_shown_with_its_error_and_its_factor(reports):
    table = engines(json.loads((reports / "profile" / "metrics.json").read_text()))
    assert table.to_numpy().tolist() == [
        ["mine", "p", "1.5", "2,000", "23.4%", "50,000"],
        ["p", "–", "–", "–", "1.0%", "9"],
    ]


def test_the_same_reports_give_the_same_page(written):
    assert written() == written()


def test_every_quantile_target_has_a_meaning():
    assert set(PREDICTED) == {target.name for target in QUANTILE_TARGETS}


def test_predictors_without_an_absolute_error_are_left_out():
    table = predictors({"set": {"ends_in_tool": {"auc": 0.8}, "output_length": {"mae": 3.0}}, "note": "x"})
    assert table.to_numpy().tolist() == [["set", PREDICTED["output_length"], "–", "3", "–", "–"]]


def test_the_stage_writes_the_page_and_the_headline(reports, selection, monkeypatch, tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    monkeypatch.chdir(root)
    (root / "reports").symlink_to(reports)
    write_json(root / paths.SELECTION, dataclasses.asdict(selection))
    report.main()
    assert paths.PAGE.read_text().startswith("<!DOCTYPE html>")
    assert "| AugServe" in report.HEADLINE.read_text()
