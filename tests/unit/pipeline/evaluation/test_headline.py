from augserve.pipeline.evaluation.headline import NAMES, headline, headline_markdown
from augserve.pipeline.evaluation.papers import CLAIMS
from augserve.pipeline.evaluation.tables import ORDER


def test_rows_are_those_that_ran_with_their_figures(evaluated):
    grid = headline(evaluated, "mix", "p")
    assert [row[0] for row in grid.rows] == ["**AugServe**", "stock vLLM", "InferCept"]
    ours, stock, _ = grid.rows
    assert ours[1:6] == ("10.0 [9.0–11.0]", "2.50 [2.25–3.00]", "–", "0.50", "16.2")
    assert ours[6:] == ("0.50", "0.5", "0.5")
    assert grid.header[-1] == "longest wait s"
    assert stock[2] == "1"
    assert grid.ours == {0}


def test_a_capacity_below_the_rates_searched_is_no_figure(evaluated):
    assert headline(evaluated, "mix", "p").rows[2][5] == "–"


def test_the_markdown_holds_one_table_and_the_differences(evaluated):
    text = headline_markdown(evaluated)
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 3
    assert len({line.count("|") for line in table}) == 1
    assert "- AugServe: 4.7× (arXiv v2)" in text
    assert "- Its parts, left out one at a time at 2×: without keeping paused contexts −20.0 %." in text
    assert "- Hardware: The papers measured real GPUs." in text


def test_names_are_of_known_policies():
    assert set(NAMES) <= set(ORDER)
    assert {name.replace("*", "") for name in NAMES.values()} >= set(CLAIMS)


def test_every_workload_has_a_table_and_the_papers_stand_there_once(evaluated):
    evaluated.results["coding"] = {"p": evaluated.results["mix"]["p"]}
    text = headline_markdown(evaluated)
    assert text.count("at 2× stock vLLM's capacity@90") == 2
    assert text.count("What differs from them here") == 1
