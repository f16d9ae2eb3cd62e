from augserve.pipeline.evaluation.headline import CLAIMS, NAMES, headline, headline_markdown, sentence
from augserve.pipeline.evaluation.tables import ORDER


def test_rows_are_those_that_ran_with_what_their_paper_claims(evaluated):
    grid = headline(evaluated, "mix", "p")
    assert [row[0] for row in grid.rows] == ["**AugServe**", "stock vLLM", "InferCept"]
    ours, stock, _ = grid.rows
    assert ours[1:6] == ("10.0 [9.0–11.0]", "2.50 [2.25–3.00]", "–", "0.50", "16.2")
    assert "4.7×" in ours[-1]
    assert stock[2] == "1"
    assert grid.ours == {0}


def test_a_capacity_below_the_rates_searched_is_no_figure(evaluated):
    assert headline(evaluated, "mix", "p").rows[2][5] == "–"


def test_the_sentence_tells_ours_from_stock(evaluated):
    text = sentence(evaluated, "mix", "p")
    assert "At 2× the load that stock vLLM bears, AugServe serves 10.0 [9.0–11.0] turns in time a second" in text
    assert "up to 16.2 sessions/s, 1.48× stock vLLM's 11." in text


def test_without_ours_there_is_no_headline_sentence(evaluated):
    del evaluated.results["mix"]["p"]["2"]["augserve"]
    assert sentence(evaluated, "mix", "p") == ""


def test_the_markdown_holds_one_table_and_the_differences(evaluated):
    text = headline_markdown(evaluated)
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 3
    assert len({line.count("|") for line in table}) == 1
    assert "- Hardware: The papers measured real GPUs." in text


def test_names_are_of_known_policies():
    assert set(NAMES) <= set(ORDER)
    assert set(CLAIMS) <= set(NAMES)
