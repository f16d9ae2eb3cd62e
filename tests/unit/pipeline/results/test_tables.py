import dataclasses

from augserve.pipeline.results.tables import (
    ORDER,
    ablations,
    capacity_text,
    listed,
    place,
    plot_rows,
    ranged,
    table,
    units,
)
from augserve.pipeline.simulator.catalogue import ABLATIONS, ORACLES, SIMULATED

from .conftest import cell


def test_every_policy_has_a_place_and_one_that_knows_stands_after_its_own():
    assert [policy for policy in SIMULATED if listed(policy) is None] == []
    assert {policy for policy in SIMULATED if policy not in ORDER} <= {policy.name for policy in ORACLES}
    cells = {"augserve": {}, "sjf-oracle": {}, "mars": {}, "sjf": {}, "unheard-of": {}}
    ordered = [policy for policy, _ in sorted(cells.items(), key=place)]
    assert ordered == ["sjf", "sjf-oracle", "mars", "augserve", "unheard-of"]
    assert {policy.name for policy in ABLATIONS} <= set(ORDER)


def test_the_table_lists_loads_in_order_and_stock_first(evaluated):
    rows = [line for line in table(evaluated).splitlines() if " | 1× | " in line or " | 2× | " in line]
    assert [row.split(" | ")[:3] for row in rows] == [
        ["| vllm", "1×", "9.0 [8.1–9.9]"],
        ["| infercept", "1×", "9.0 [8.1–9.9]"],
        ["| augserve", "1×", "9.0 [8.1–9.9]"],
        ["| vllm", "2×", "4.0 [3.6–4.4]"],
        ["| infercept", "2×", "5.0 [4.5–5.5]"],
        ["| augserve", "2×", "10.0 [9.0–11.0]"],
        ["| augserve-no-context", "2×", "8.0 [7.2–8.8]"],
    ]


def test_the_table_says_what_the_tuned_stock_was_and_which_capacity_was_not_found(evaluated):
    text = table(evaluated)
    assert "vllm-tuned is vllm@2048x256" in text
    assert "infercept –" in text  # a file of an older release, which says no more


def test_a_capacity_is_a_rate_or_a_bound(evaluated):
    misses = {"mix": {"p": {"augserve": 17.0, "infercept": 6.19, "mars": None}}}
    evaluated.capacity90["mix"]["p"]["mars"] = 49.5
    found = dataclasses.replace(evaluated, misses90=misses)
    texts = [capacity_text(found, "mix", "p", policy) for policy in ("vllm", "augserve", "infercept", "mars", "sjf")]
    assert texts == ["11", "16.2", "< 6.19", "≥ 49.5", "–"]
    assert "vllm 11, augserve 16.2, infercept < 6.19, mars ≥ 49.5." in table(found)


def test_an_ablation_is_told_by_what_it_loses(evaluated):
    grid = ablations(evaluated, "mix", "p")
    assert grid is not None
    assert grid.rows[0][:2] == ("augserve", "nothing: all of it, tuned")
    assert grid.rows[1][:4] == ("augserve-no-context", "keeping of paused contexts", "8.0 [7.2–8.8]", "-20.0%")


def test_without_ablations_nothing_is_told_of_them(evaluated):
    del evaluated.results["mix"]["p"]["2"]
    assert ablations(evaluated, "mix", "p") is None


def test_the_static_budget_is_told_with_its_tokens_and_what_stands_beside_it(evaluated):
    evaluated.results["mix"]["p"]["2"] |= {"augserve-static-budget": cell(9), "augserve-p-pas": cell(9.5)}
    tried = {"mix": {"p": {"1024": 8.0, "2048": 9.0}}}
    grid = ablations(dataclasses.replace(evaluated, budgets=tried), "mix", "p")
    assert grid is not None
    told = "2048 tokens in every step, the best of 1024 and 2048 on other sessions"
    assert [row[:2] for row in grid.rows[1:3]] == [
        ("augserve-static-budget", f"steering of the token budget: {told}"),
        ("augserve-p-pas", "steering of the token budget: P-PAS's rule instead"),
    ]
    assert f"augserve-static-budget has {told}." in units(dataclasses.replace(evaluated, budgets=tried), "mix", "p")
    assert "augserve-static-budget has" not in units(evaluated, "mix", "p")  # as the engine was configured


def test_a_value_without_interval_stands_alone():
    assert ranged({"x": 1.25}, "x", ".1f") == "1.2"


def test_the_plot_has_a_row_a_cell(evaluated):
    rows = plot_rows(evaluated).splitlines()
    assert rows[0].startswith("workload,profile,policy,load,effective_throughput,")
    assert "mix,p,augserve,2,10,0.5,0.5,0.5,0.5,9,11" in rows
    assert len(rows) == 8
