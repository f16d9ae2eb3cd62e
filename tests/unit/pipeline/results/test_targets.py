import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.data.workload.mix import MIX_SWING
from augserve.pipeline.results.metrics_file import Evaluated, read_results, write_results
from augserve.pipeline.results.targets import OF_A_SWING, TARGETS, outcomes, target_grid, target_summary
from augserve.pipeline.simulator.catalogue import CATALOGUE

from .conftest import cell


def row(evaluated, name, workload="mix"):
    (found,) = [one for one in outcomes(evaluated, workload, "p") if one.target.name == name]
    return found, target_grid([found]).rows[0]


def evaluated_on(workload="mix", capacity90=None, **loads):
    """Cells by `x2` and policy: a number of turns in time, or a whole cell."""
    by_load = {
        load.strip("x"): {policy: cell(of) if isinstance(of, int | float) else of for policy, of in cells.items()}
        for load, cells in loads.items()
    }
    return Evaluated({workload: {"p": by_load}}, {workload: {"p": capacity90 or {"vllm": 10.0}}}, {})


def test_a_target_that_is_held_says_so():
    found, shown = row(evaluated_on(x2={"vllm": 10, "augserve": 70}), "turns_over_vllm_2x")
    assert (found.reached, found.held) == (7.0, True)
    assert shown == ("turns in time, × stock vLLM", "2×", "6.5×", "7×", "held", "")


def test_a_missed_one_says_by_how_much_and_which_part_holds_it_back():
    cells = {
        "uncached-first": 10,
        "augserve": 10.5,
        "augserve-no-context": 12,
        "augserve-no-predictors": 10.5,
        "augserve-no-stage-two": 3,
        "augserve-oracle": 10.8,
    }
    found, shown = row(evaluated_on(x2=cells), "turns_over_uncached_first_2x")
    assert found.held is False
    assert shown[3:5] == ("1.05×", "missed by 4.5 %")
    assert shown[5] == (
        "keeping paused contexts: without it 1.2×; nothing gained by predictions; "
        "knowing what comes: 1.08×, which is not enough either"
    )


def test_an_oracle_that_would_hold_it_is_not_called_not_enough():
    cells = {"uncached-first": 10, "augserve": 10.5, "augserve-oracle": 11.5}
    assert row(evaluated_on(x2=cells), "turns_over_uncached_first_2x")[1][5] == "knowing what comes: 1.15×"


def test_every_load_means_the_worst_of_them():
    evaluated = evaluated_on(
        x1={"vllm": 10, "augserve": 9}, x2={"vllm": 10, "augserve": 20}, x3={"vllm": 0, "augserve": 20}
    )
    found, shown = row(evaluated, "turns_never_below_vllm")
    assert (found.reached, found.held) == (0.9, False)
    assert shown[1] == "1–3×, least at 1×"


def test_a_fall_is_told_in_points_and_at_the_worst_of_the_loads_named():
    def waiting(ours, stock):
        return {"vllm": cell(1) | {"ttft_p50_s": stock}, "augserve": cell(1) | {"ttft_p50_s": ours}}

    found, shown = row(evaluated_on(x2=waiting(0.1, 10.0), x3=waiting(0.5, 10.0)), "ttft_p50_2x_3x")
    assert found.reached == pytest.approx(0.95)
    assert shown[2:5] == ("98.0 %", "95.0 %", "missed by 3.0 points")


def test_what_did_not_run_is_not_measured_and_counts_as_neither():
    evaluated = evaluated_on(x2={"vllm": 10, "augserve": 70})
    found, shown = row(evaluated, "turns_over_vllm_3x")
    assert found.held is None
    assert shown[1:5] == ("3×", "15×", "not measured", "")
    assert "turns_over_vllm_3x" not in target_summary(evaluated)["mix"]["p"]
    found, shown = row(evaluated, "ttft_p50_2x_3x")  # one of its two loads is missing
    assert found.held is None
    assert shown[1] == "2×, 3×"


def test_a_rival_that_serves_nothing_is_beaten_by_anything_but_nothing():
    found, shown = row(evaluated_on(x2={"vllm": 0, "augserve": 1}), "turns_over_vllm_2x")
    assert (found.reached, found.held, shown[3]) == (None, True, "the other serves none")
    found, shown = row(evaluated_on(x2={"vllm": 0, "augserve": 0}), "turns_over_vllm_2x")
    assert (found.held, shown[3:5]) == (False, ("nor does ours", "missed"))


def test_a_capacity_has_its_own_reason():
    rates = {"vllm": 10.0, "augserve": 13.0, "augserve-oracle": 16.0}
    _, shown = row(evaluated_on(capacity90=rates, x2={"augserve": 1}), "capacity90")
    assert shown[3:] == ("1.3×", "missed by 13.3 %", "knowing what comes: 1.6×")
    found, _ = row(evaluated_on(capacity90={"vllm": 10.0, "augserve": None}, x2={"augserve": 1}), "capacity90")
    assert found.held is False


def test_a_swing_is_held_against_the_targets_of_twice_the_load_at_its_own_and_has_more():
    cells = {"vllm": 10, "augserve": 50, "augserve-static-budget": 55, "augserve-p-pas": 40}
    evaluated = evaluated_on(MIX_SWING, **{"x1.65": cells})
    assert row(evaluated, "turns_over_vllm_2x", MIX_SWING)[1][1:5] == ("1.65×", "6.5×", "5×", "missed by 23.1 %")
    found, shown = row(evaluated, "budget_over_static", MIX_SWING)
    assert found.held is False
    assert shown[5] == ""  # the target itself is the ablation
    assert row(evaluated, "budget_over_p_pas", MIX_SWING)[0].reached == 1.25  # in our order, not in vLLM's
    names = {one.target.name for one in outcomes(evaluated, MIX_SWING, "p")}
    assert {"turns_over_vllm_3x", "ttft_mean_1.4x", "capacity90"} & names == set()
    assert "budget_over_static" not in {one.target.name for one in outcomes(evaluated_on(x2=cells), "mix", "p")}


def test_the_table_s_figures_stand_to_the_right_and_its_reasons_to_the_left():
    grid = target_grid(outcomes(evaluated_on(x2={"vllm": 10, "augserve": 20}), "mix", "p"))
    assert grid.markdown()[1] == "|---|---|---:|---:|---|---|"


def test_without_ours_nothing_is_asked():
    assert outcomes(evaluated_on(x2={"vllm": 10}), "mix", "p") == []


@given(st.floats(0.1, 1e3), st.floats(0.1, 1e3))
def test_held_is_what_reaches_what_is_asked(ours, base):
    for one in outcomes(evaluated_on(x2={"vllm": base, "augserve": ours}), "mix", "p"):
        if one.reached is not None:
            assert one.held == (one.reached >= one.target.least)


def test_the_summary_stands_in_the_metrics_and_leaves_them_readable(tmp_path, evaluated):
    write_results(tmp_path / "metrics.json", evaluated, target_summary(evaluated))
    assert read_results(tmp_path / "metrics.json") == evaluated
    summary = json.loads((tmp_path / "metrics.json").read_text())["summary"]["mix"]["p"]
    assert summary["targets"]["turns_over_vllm_2x"] == {"asked": 6.5, "reached": 2.5, "held": 0}
    assert summary["over_vllm"] == 2.5


def test_targets_name_policies_that_exist_and_each_once():
    named = [target.name for target in (*TARGETS, *OF_A_SWING)]
    assert len(set(named)) == len(named)
    assert {target.base for target in (*TARGETS, *OF_A_SWING)} <= set(CATALOGUE)
