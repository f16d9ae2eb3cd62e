import dataclasses
import json
import re
from html.parser import HTMLParser

import pytest

from augserve.data.atomic import write_json
from augserve.pipeline.report import run as report
from augserve.pipeline.report.page import SECTIONS, page
from augserve.pipeline.report.sources import FIGURES
from augserve.pipeline.results.figures import INK
from augserve.pipeline.results.metrics_file import ResultsError, write_results

from .test_embedded import SVG
from .test_sources import LIVE

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
    for folder in ("evaluate", "train"):
        (tmp_path / folder).mkdir()
    for name in FIGURES:
        (tmp_path / "evaluate" / f"{name}.svg").write_text(SVG)
    write_results(tmp_path / "evaluate" / "metrics.json", results, {})
    trained = {"mix<>": {"output_length": {"mae": 70.123, "mae_baseline": 75, "kendall_tau": 0.4, "coverage_80": 0.8}}}
    (tmp_path / "train" / "metrics.json").write_text(json.dumps(trained))
    return tmp_path


@pytest.fixture
def text(reports, results, selection):
    return page(reports, results, selection)


def test_every_section_has_its_id_and_a_link(text):
    parsed = Page(text)
    for name in SECTIONS:
        assert parsed.ids.count(name) == 1
        assert f"#{name}" in parsed.addresses


def test_the_page_makes_no_request(text):
    assert all(address.startswith(("#", "data:,")) for address in Page(text).addresses)
    for reference in (r"url\((?!#)", "@import", "<script", "<iframe", "<img", "srcset"):
        assert not re.search(reference, text)


def test_ids_are_unique(text):
    ids = Page(text).ids
    assert len(ids) == len(set(ids))


def test_figures_follow_the_colours_of_the_reader(text):
    assert INK not in text
    assert "prefers-color-scheme: dark" in text


def test_every_table_scrolls_inside_the_width_of_a_phone(text):
    assert 'name="viewport" content="width=device-width' in text
    assert len(re.findall("<table>", text)) == len(re.findall(r'<div class="wide"><table>', text)) > 5


def test_names_from_data_are_escaped(text):
    assert "mix&lt;&gt;" in text
    assert "mix<>" not in text


def test_every_workload_has_its_tables(reports, results, selection):
    results.cells["coding"] = {"q": results.cells["mix"]["p"]}
    results.capacity90["coding"] = {"q": results.capacity90["mix"]["p"]}
    text = " ".join(Page(page(reports, results, selection)).text)
    for name in ("mix on p", "coding on q"):
        assert text.count(name) == 4  # headline, ablations, all policies, goals


def test_the_origin_of_the_tuned_settings_is_shown(reports, results, selection):
    given = dataclasses.replace(selection, chosen="start 1", scores={"start 1": {"tune": 1.0, "select": 1.0}})
    assert "given in params.yaml" in page(reports, results, given)


def test_commands_stand_for_reports_that_are_missing(text):
    for command in ("make compare", "make fidelity", "make live"):
        assert command in text


def test_an_old_long_comparison_does_not_stop_the_page(reports, results, selection):
    (reports / "compare").mkdir()
    (reports / "compare" / "metrics.json").write_text("{}")
    assert "Not shown: " in page(reports, results, selection)


def test_a_long_comparison_is_shown(reports, results, selection):
    (reports / "compare").mkdir()
    write_results(reports / "compare" / "metrics.json", results, {})
    for name in FIGURES:
        (reports / "compare" / f"{name}.svg").write_text(SVG)
    ids = Page(page(reports, results, selection)).ids
    assert "figure-compare-goodput" in ids
    assert len(ids) == len(set(ids))


def test_live_results_are_shown(reports, results, selection):
    (reports / "live").mkdir()
    (reports / "live" / "metrics.json").write_text(json.dumps(LIVE))
    assert "unfinished turns" in page(reports, results, selection)


@pytest.mark.parametrize("lost", ["evaluate/ttft.svg", "train/metrics.json"])
def test_a_missing_report_is_one_line_with_its_name(reports, results, selection, lost):
    (reports / lost).unlink()
    with pytest.raises(ResultsError, match=lost) as error:
        page(reports, results, selection)
    assert "\n" not in str(error.value)


def test_the_same_reports_give_the_same_page(reports, results, selection, text):
    assert page(reports, results, selection) == text


def test_the_stage_writes_the_page_and_the_headline(reports, selection, monkeypatch, tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    monkeypatch.chdir(root)
    (root / "reports").symlink_to(reports)
    write_json(root / report.SELECTION, dataclasses.asdict(selection))
    report.main()
    assert report.PAGE.read_text().startswith("<!DOCTYPE html>")
    assert "| AugServe" in report.HEADLINE.read_text()
