import dataclasses

import pytest

from augserve.pipeline.results.words import PARTS, sentence, worth
from augserve.pipeline.simulator.catalogue import ABLATIONS, P_PAS_BUDGET, UNTUNED

from .conftest import cell


@pytest.fixture
def cells(evaluated):
    """Those of the highest load, to add to; ours serves 10."""
    return evaluated.results["mix"]["p"]["2"]


def test_the_sentence_tells_ours_from_stock(evaluated):
    text = sentence(evaluated, "mix", "p")
    assert "At 2× the load that stock vLLM bears, AugServe serves 10.0 [9.0–11.0] turns in time a second" in text
    assert "up to 16.2 sessions/s, 1.48× stock vLLM's 11." in text


def test_without_ours_there_is_nothing_to_say(evaluated, cells):
    del cells["augserve"]
    assert sentence(evaluated, "mix", "p") == ""
    assert worth(evaluated, "mix", "p") == []


def test_predictions_that_gain_nothing_are_said_to_gain_nothing(evaluated, cells):
    cells |= {"augserve-no-predictors": cell(10.03), "augserve-static-budget": cell(0.5)}
    text = " ".join(worth(evaluated, "mix", "p"))
    assert "without predictions +0.3 %" in text
    assert "the predictions gain nothing; what gains is the steered token budget and keeping paused contexts." in text
    assert "Learning is worth" not in text


def test_predictions_that_gain_are_said_to(evaluated, cells):
    cells |= {"augserve-no-predictors": cell(8.8)}
    text = " ".join(worth(evaluated, "mix", "p"))
    assert "without predictions −12.0 %" in text
    assert "Learning is worth 12.0 % of the turns in time here." in text
    assert "gain nothing" not in text


def test_the_best_static_budget_is_named_and_p_pas_stands_beside_it(evaluated, cells):
    cells |= {"augserve-static-budget": cell(9.8), "augserve-p-pas": cell(11)}
    found = dataclasses.replace(evaluated, budgets={"mix": {"p": {"1024": 9.5, "2048": 9.4}}})
    told = worth(found, "mix", "p")[0]
    budget = "1024 tokens in every step, the best of 1024 and 2048 on other sessions"
    assert f"without the steered token budget ({budget}) −2.0 %;" in told
    assert told.endswith("; with P-PAS's rule in place of the steered token budget +10.0 %.")
    assert "without the steered token budget −2.0 %" in worth(evaluated, "mix", "p")[0]  # as configured


def test_tuning_is_held_against_the_settings_by_hand_in_turns_and_in_sessions(evaluated, cells):
    cells |= {"augserve-default": cell(8) | {"session_effective_throughput": 0.625}}
    assert worth(evaluated, "mix", "p")[0] == (
        "Tuned against set by hand: turns in time +25.0 % (10.0 / 8.0 a second), whole sessions −20.0 % (0.50 / 0.62)."
    )


def test_what_knowing_all_would_add_is_said(evaluated, cells):
    cells |= {"augserve-oracle": cell(10.4)}
    assert worth(evaluated, "mix", "p")[-1] == "Were every prediction right, it would be +4.0 %."


def test_every_part_that_can_be_left_out_has_a_name():
    assert set(PARTS) == {policy.name for policy in ABLATIONS if policy not in (P_PAS_BUDGET, UNTUNED)}
