import pytest

from augserve.pipeline.results.budgets import best_budget, budget_text


@pytest.mark.parametrize(
    ("tried", "best"),
    [
        ({"1024": 80.0, "2048": 81.0, "4096": 70.0}, 2048),
        ({"1024": 80.0, "2048": 80.0}, 2048),  # of equals the nearer to vLLM's default
        ({"8192": 5.0, "16384": 5.0}, 16_384),  # as a number, not as a word
        ({"512": 0.0}, 512),
    ],
)
def test_the_best_budget_is_the_one_that_served_most(tried, best):
    assert best_budget(tried) == best


def test_it_is_told_with_those_that_it_was_the_best_of_in_their_order():
    tried = {"4096": 70.0, "1024": 80.0, "16384": 1.0}
    assert budget_text(tried) == "1024 tokens in every step, the best of 1024, 4096 and 16384 on other sessions"
    assert budget_text({"2048": 1.0}) == "2048 tokens in every step"
