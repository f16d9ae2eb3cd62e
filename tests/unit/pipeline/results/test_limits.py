import pytest

from augserve.pipeline.results.limits import closed_limits, open_limits

from .conftest import cell, closed

JOB = ("mix", "p")
AGENTS = ("coding-agents", "p")


def test_a_load_at_which_augserve_gains_nothing_is_named_with_the_best_rival(results):
    """At 1x all are equal; at 2x AugServe has twice the goodput of the best rival, and equal sessions."""
    table = open_limits(results, JOB)
    assert table["load"].tolist() == ["1×", "2×"]
    assert table["goodput"].tolist() == ["1.00×", ""]
    assert table["session goodput"].tolist() == ["1.00×", "1.00×"]
    assert table["best rival"].tolist()[1] == "InferCept"


@pytest.mark.parametrize(("longest_wait_s", "told"), [(0.7, ""), (0.8, "1.60×")])
def test_a_wait_is_named_beyond_half_as_much_again(results, longest_wait_s, told):
    results.cells["mix"]["p"]["2x"]["augserve"]["longest_wait_s"] = longest_wait_s
    assert open_limits(results, JOB)["longest wait"].tolist()[1] == told


def test_a_load_is_absent_where_augserve_helps_in_every_figure(results):
    better = closed(70.0) | {"attainment": 0.9, "sessions_per_hour": 0.9, "session_time_mean_s": 0.1}
    results.cells["coding-agents"]["p"]["16"]["augserve"] = better
    assert closed_limits(results, AGENTS)["agents"].tolist() == ["8"]


def test_a_run_without_augserve_or_without_rivals_has_no_limits(results):
    results.cells["mix"]["p"] = {"2x": {"vllm": cell(4)}, "1x": {"augserve": cell(9)}}
    assert not len(open_limits(results, JOB))
