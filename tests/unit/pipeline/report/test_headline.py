import pytest

from augserve.data.workload.mix import MIX_SWING
from augserve.pipeline.report.headline import NAMES, headline, headline_markdown
from augserve.pipeline.report.papers import CLAIMS
from augserve.pipeline.results.metrics_file import Evaluated
from augserve.pipeline.results.tables import ORDER

from ..results.conftest import cell


def test_rows_are_those_that_ran_with_their_figures(evaluated):
    grid = headline(evaluated, "mix", "p")
    assert [row[0] for row in grid.rows] == ["**AugServe**", "stock vLLM", "InferCept"]
    ours, stock, _ = grid.rows
    assert ours[1:6] == ("10.0 [9.0–11.0]", "2.50 [2.25–3.00]", "–", "0.50", "16.2")
    assert ours[6:] == ("0.50", "0.5", "0.5")
    assert (grid.header[0], grid.header[-1]) == ("at 2×", "longest wait s")
    assert stock[2] == "1"
    assert grid.ours == {0}


def test_a_capacity_below_the_rates_searched_is_no_figure(evaluated):
    assert headline(evaluated, "mix", "p").rows[2][5] == "–"


def test_the_markdown_holds_the_table_what_tuning_gained_the_targets_missed_and_the_differences(evaluated, selection):
    text = headline_markdown(evaluated, selection)
    table = [line for line in text.splitlines() if line.startswith("|")]
    headline_table, missed = table[: 2 + 3], table[2 + 3 :]
    assert len({line.count("|") for line in headline_table}) == 1
    assert "| turns in time, × stock vLLM | 2× | 6.5× | 2.5× | missed by 61.5 % |" in missed[2]
    assert not any("| held |" in line for line in missed)
    assert "Tuning (trial 3) gained" in text
    assert "A longest wait of 5 s" in text
    assert "- AugServe: 4.7× (arXiv v2)" in text
    assert "- Its parts, left out one at a time at 2×: without keeping paused contexts −20.0 %." in text
    assert "- Hardware: The papers measured real GPUs." in text


def test_names_are_of_known_policies():
    assert set(NAMES) <= set(ORDER)
    assert {name.replace("*", "") for name in NAMES.values()} >= set(CLAIMS)


def test_every_workload_has_a_table_and_the_papers_stand_there_once(evaluated, selection):
    evaluated.results["coding"] = {"p": evaluated.results["mix"]["p"]}
    evaluated.capacity90["coding"] = evaluated.capacity90["mix"]
    text = headline_markdown(evaluated, selection)
    assert text.count("on p, at 2×, 1× being stock vLLM's capacity@90") == 2
    assert text.count("What differs from them here") == 1


def test_a_swing_says_between_what_it_goes_and_claims_no_capacity(evaluated, selection):
    evaluated.results[MIX_SWING] = {"p": {"1.65": evaluated.results["mix"]["p"]["2"]}}
    evaluated.capacity90[MIX_SWING] = {"p": {"vllm": 11.0}}
    assert {row[5] for row in headline(evaluated, MIX_SWING, "p").rows} == {"–"}
    text = headline_markdown(evaluated, selection)
    assert "Where the load swings from 0.3× to 3× what stock vLLM bears, and back, each 60 s, AugServe serves" in text
    assert "| swinging between 0.3× and 3× | turns in time /s" in text


def test_the_load_of_the_headline_is_that_at_which_all_ran(evaluated):
    few = evaluated.results["mix"]["p"]["1"]["augserve"]
    evaluated.results["mix"]["p"]["3"] = {"augserve": few}
    assert headline(evaluated, "mix", "p").header[0] == "at 2×"


@pytest.mark.parametrize(
    ("ours", "told"),
    [
        (80, "Of 4 targets on mix that were measured, 4 are held.\n\nWhat the papers claim"),
        (10, "Of 4 targets on mix that were measured, 3 are held; of those missed:\n\n| target |"),
    ],
)
def test_what_is_held_of_the_targets_is_a_whole_sentence_whether_or_not_some_are_missed(selection, ours, told):
    sessions = {"session_effective_throughput": 5.0}
    cells = {"augserve": cell(ours) | sessions, "vllm": cell(8)}
    found = Evaluated({"mix": {"p": {"2": cells}}}, {"mix": {"p": {}}}, {})
    assert told in headline_markdown(found, selection)
