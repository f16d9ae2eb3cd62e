import dataclasses

import pytest

from augserve.data.workload.mix import MIX_SWING
from augserve.pipeline.results.goals import GOALS, SWING_GOALS, goal_summary, goal_table, outcomes
from augserve.pipeline.results.metrics_file import EvaluationResults

from .conftest import cell

JOB = ("mix", "p")


def results_of(by_load, capacity90=None, workload="mix"):
    return EvaluationResults({workload: {"p": by_load}}, {workload: {"p": capacity90 or {}}}, {})


def outcome(results, name, job=JOB):
    return next((outcome for outcome in outcomes(results, job) if outcome.goal.name == name), None)


@pytest.mark.parametrize(("ours", "met"), [(65.0, True), (64.9, False)])
def test_a_goal_is_met_where_its_value_is_reached(ours, met):
    found = outcome(results_of({"2": {"augserve": cell(ours), "vllm": cell(10)}}), "turns_over_vllm_2x")
    assert (found.reached, found.met) == (pytest.approx(ours / 10), met)


def test_a_goal_at_several_loads_counts_where_augserve_does_worst():
    by_load = {
        "1": {"augserve": cell(9), "vllm": cell(10)},
        "2": {"augserve": cell(99), "vllm": cell(10)},
        "3": {"augserve": cell(5), "vllm": cell(0)},
    }
    found = outcome(results_of(by_load), "turns_never_below_vllm")
    assert (found.load, found.reached, found.met) == ("1", pytest.approx(0.9), False)


def test_a_goal_that_falls_asks_for_less_than_the_base():
    by_load = {load: {"augserve": cell(1), "vllm": cell(1) | {"ttft_p50_s": 50.0}} for load in ("2", "3")}
    found = outcome(results_of(by_load), "ttft_p50_2x_3x")
    assert (found.reached, found.met) == (pytest.approx(0.99), True)


def test_a_base_without_goodput_is_beaten_by_any_goodput():
    for ours, met in ((1, True), (0, False)):
        found = outcome(results_of({"2": {"augserve": cell(ours), "vllm": cell(0)}}), "turns_over_vllm_2x")
        assert (found.reached, found.met) == (None, met)


def test_capacity_is_compared_with_stock_vllm():
    by_load = {"2": {"augserve": cell(1), "vllm": cell(1)}}
    assert outcome(results_of(by_load, {"vllm": 10.0, "augserve": 15.0}), "capacity90").met
    assert outcome(results_of(by_load, {"vllm": 10.0, "augserve": None}), "capacity90").reached == 0.0
    assert outcome(results_of(by_load, {"vllm": 10.0}), "capacity90") is None


def test_a_goal_at_a_load_that_did_not_run_is_not_measured(results):
    assert outcome(results, "turns_over_vllm_3x") is None
    assert outcome(results, "turns_over_uncached_first_2x") is None


def test_a_swing_has_the_goals_of_the_main_load_at_its_own_load():
    results = results_of({"1.65": {"augserve": cell(70), "vllm": cell(10)}}, {"vllm": 11.0}, MIX_SWING)
    names = [found.goal.name for found in outcomes(results, (MIX_SWING, "p"))]
    assert "turns_over_vllm_2x" in names
    assert not {"capacity90", "turns_over_vllm_3x"} & set(names)


def test_the_table_and_the_summary_hold_what_was_asked_and_reached(results):
    table = goal_table(results, JOB).set_index("goal")
    row = table.loc["goodput to stock vLLM"]
    assert (row["load"], row["asked"], row["reached"], row["met"]) == ("2×", "6.5×", "2.5×", "no")
    entry = goal_summary(results)[JOB]["turns_over_vllm_2x"]
    assert entry == {"asked": 6.5, "reached": 2.5, "held": 0}


def test_without_augserve_nothing_is_measured(results):
    stock = {"2": {"vllm": cell(4)}}
    assert outcomes(dataclasses.replace(results, cells={"mix": {"p": stock}}, capacity90={"mix": {"p": {}}}), JOB) == []


def test_names_in_the_metrics_file_are_unique():
    names = [goal.name for goal in (*GOALS, *SWING_GOALS)]
    assert len(set(names)) == len(names)
