import dataclasses
import json
import re
from html.parser import HTMLParser

import pytest

from augserve.data.atomic import write_json
from augserve.models.serving.target import QUANTILE_TARGETS
from augserve.pipeline.report import run as report
from augserve.pipeline.report.embedded import inline
from augserve.pipeline.report.glossary import POLICIES, PREDICTED
from augserve.pipeline.report.page import FIGURES, SECTIONS, Sources, page, predictors
from augserve.pipeline.results.figures import INK
from augserve.pipeline.results.metrics_file import ResultsError, write_results
from augserve.pipeline.results.tables import ORDER

SVG = f'<?xml version="1.0"?>\n<svg width="10pt"><g id="axes_1" fill="{INK}"/><use xlink:href="#axes_1"/></svg>'
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
def sources(tmp_path, evaluated, selection):
    for folder in ("evaluate", "train"):
        (tmp_path / folder).mkdir()
    for name in FIGURES:
        (tmp_path / "evaluate" / f"{name}.svg").write_text(SVG)
    write_results(tmp_path / "evaluate" / "metrics.json", evaluated)
    trained = {"mix<>": {"output_length": {"mae": 70.123, "mae_baseline": 75, "kendall_tau": 0.4, "coverage_80": 0.8}}}
    (tmp_path / "train" / "metrics.json").write_text(json.dumps(trained))
    write_json(tmp_path / "selection.json", dataclasses.asdict(selection))
    return Sources(
        *(tmp_path / name for name in ("evaluate", "train", "compare", "fidelity", "live", "selection.json"))
    )


def test_every_section_has_its_id_and_a_link(sources):
    found = Page(page(sources))
    for name, _ in SECTIONS:
        assert found.ids.count(name) == 1
        assert f"#{name}" in found.addresses


def test_no_request_leaves_the_page(sources):
    text = page(sources)
    found = Page(text)
    assert all(address.startswith(("#", "data:,")) for address in found.addresses)
    for reference in (r"url\((?!#)", "@import", "<script", "<iframe", "<img", "srcset"):
        assert not re.search(reference, text)


def test_no_id_stands_twice(sources):
    ids = Page(page(sources)).ids
    assert len(ids) == len(set(ids))


def test_figures_follow_the_reader_s_colours_and_keep_their_references(sources):
    text = page(sources)
    assert INK not in text
    assert 'fill="currentColor"' in text
    assert 'id="figure-evaluate-goodput-axes_1"' in text
    assert 'xlink:href="#figure-evaluate-goodput-axes_1"' in text
    assert "prefers-color-scheme: dark" in text


def test_a_phone_s_width_is_the_page_s(sources):
    text = page(sources)
    assert 'name="viewport" content="width=device-width' in text
    assert len(re.findall("<table>", text)) == len(re.findall(r'<div class="wide"><table>', text)) > 2


def test_names_from_data_are_escaped(sources):
    text = page(sources)
    assert "mix&lt;&gt;" in text
    assert "mix<>" not in text


def test_every_workload_has_its_headline_and_its_targets(sources, evaluated):
    evaluated.results["coding"] = {"q": evaluated.results["mix"]["p"]}
    evaluated.capacity90["coding"] = {"q": evaluated.capacity90["mix"]["p"]}
    write_results(sources.evaluate / "metrics.json", evaluated)
    text = " ".join(Page(page(sources)).text)
    assert text.count("At 2× the load that stock vLLM bears") == 2
    for name in ("mix on p", "coding on q"):
        assert text.count(name) >= 3  # headline, targets, all policies
    assert text.count("missed by 61.5 %") == 2
    assert "Tuning (trial 3) gained" in text


def test_what_was_not_run_is_said(sources):
    text = " ".join(Page(page(sources)).text)
    assert "`make compare` adds it here" in text
    assert "`make fidelity` adds it here" in text


def test_an_old_long_comparison_does_not_stop_the_page(sources):
    sources.compare.mkdir()
    (sources.compare / "metrics.json").write_text("{}")
    assert "Not shown: " in page(sources)
    assert "format 1 of an older version" in page(sources)


def test_fidelity_is_shown_where_it_was_measured(sources):
    sources.fidelity.mkdir()
    pair = {"real": 0.5, "simulated": 0.55}
    (sources.fidelity / "metrics.json").write_text(json.dumps({"1": {"vllm": {"ttft_p50_s": pair}}}))
    summary = {"median_relative_error_of_all": 0.083, "attainment_largest_difference": 0.021}
    (sources.fidelity / "summary.json").write_text(json.dumps(summary))
    (sources.fidelity / "fidelity.svg").write_text(SVG)
    text = page(sources)
    assert "the median relative error is 8.3 %, the share of turns in time differs by 2.1 points" in text
    assert "0.5 / 0.55" in text


LIVE = {
    "vllm": {"effective_throughput": 2.0, "attainment": 0.25, "unfinished": 0.0},
    "augserve": {"effective_throughput": 5.0, "attainment": 0.5, "unfinished": 3.0},
    "conditions": {"duration_s": 300.0, "load": 2.0, "slo": {"ttft_s": 1.5, "tpot_s": 0.15}},
}


def test_the_run_on_the_real_server_is_shown_where_there_was_one(sources):
    assert "AugServe against stock vLLM</h3>" not in page(sources)
    sources.live.mkdir()
    (sources.live / "metrics.json").write_text(json.dumps(LIVE))
    text = " ".join(" ".join(Page(page(sources)).text).split())
    assert "for 5 minutes at 2× its capacity@90" in text
    assert "a TTFT ≤ 1.5 s and a TPOT ≤ 0.15 s" in text
    assert "turns in time /s 2 5 2.50 share of turns in time 0.25 0.5 2.00 turns not finished 0 3 –" in text


@pytest.mark.parametrize("lost", ["vllm", "conditions"])
def test_a_damaged_report_of_the_real_server_is_one_clear_line(sources, lost):
    sources.live.mkdir()
    (sources.live / "metrics.json").write_text(json.dumps({name: of for name, of in LIVE.items() if name != lost}))
    with pytest.raises(ResultsError, match=rf"live/metrics\.json: incomplete .*{lost}.*; run `make live`") as error:
        page(sources)
    assert "\n" not in str(error.value)


def test_a_stranger_is_told_what_words_and_policies_are_before_their_figures(sources):
    text = " ".join(Page(page(sources)).text)
    assert text.index("a turn is one call of the model in it") < text.index("At 2× the load")
    assert text.index(POLICIES["augserve-no-context"]) < text.index("Load 1x is stock vLLM")
    assert POLICIES["continuum"] not in text  # it did not run


def test_every_policy_and_every_prediction_of_the_tables_has_its_meaning():
    assert set(POLICIES) == set(ORDER)
    assert set(PREDICTED) == {target.name for target in QUANTILE_TARGETS}


@pytest.mark.parametrize("lost", ["metrics.json", "ttft.svg"])
def test_a_missing_part_is_one_clear_line(sources, lost):
    (sources.evaluate / lost).unlink()
    with pytest.raises(ResultsError, match=lost) as error:
        page(sources)
    assert "\n" not in str(error.value)


def test_targets_without_the_figures_shown_are_left_out():
    grid = predictors({"set": {"ends_in_tool": {"auc": 0.8}, "output_length": {"mae": 3.0}}, "note": "x"})
    assert grid.rows == [("set", "output of a turn, tokens", "–", "3", "–", "–")]


def test_the_same_reports_give_the_same_page(sources):
    assert page(sources) == page(sources)


def test_inlining_leaves_out_the_xml_head():
    assert inline(SVG, "x").startswith("<svg")


def test_the_stage_writes_the_page_and_the_headline(sources, monkeypatch):
    monkeypatch.chdir(sources.evaluate.parent.parent)
    (sources.evaluate.parent.parent / "reports").symlink_to(sources.evaluate.parent)
    monkeypatch.setattr(report, "SELECTION", sources.selection)
    report.main()
    assert report.PAGE.read_text().startswith("<!DOCTYPE html>")
    assert report.HEADLINE.read_text().startswith("At 2× the load")
