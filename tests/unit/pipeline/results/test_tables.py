import dataclasses

import pandas as pd

from augserve.data.workload.mix import MIX_SWING
from augserve.pipeline.results.columns import value_text
from augserve.pipeline.results.tables import (
    OVER_IT,
    ablations,
    capacity_text,
    cells,
    headline,
    load_text,
    markdown,
    numeric,
    order_of,
    policies,
    static_settings,
    write_csv,
)
from augserve.pipeline.simulator import catalogue

from .conftest import cell

JOB = ("mix", "p")


def swinging(results):
    by_profile = {"p": {"1.65x": results.cells["mix"]["p"]["2x"]}}
    return dataclasses.replace(results, cells={MIX_SWING: by_profile}, capacity90={MIX_SWING: {"p": {"vllm": 11.0}}})


def test_every_cell_is_a_row_in_the_order_of_the_loads_and_of_the_catalogue(results):
    table = cells(results, JOB)
    assert list(zip(table["load"], table["policy"], strict=True)) == [
        ("1×", "augserve"),
        ("1×", "vllm"),
        ("1×", "infercept"),
        ("2×", "augserve"),
        ("2×", "vllm"),
        ("2×", "infercept"),
        ("2×", "augserve-no-context"),
    ]
    assert table["goodput, turns/s"][3] == "10.0 [9.0–11.0]"
    assert table["SLO attainment"][3] == "50.0%"


def test_the_headline_has_augserve_and_its_rivals_at_the_main_load(results):
    table = headline(results, JOB)
    assert table["policy"].tolist() == ["AugServe", "stock vLLM", "InferCept"]
    assert table["capacity@90, sessions/s"].tolist() == ["16.2", "11", "–"]
    assert table["goodput, turns/s"].tolist()[0] == "10.0 [9.0–11.0]"


def test_the_main_load_is_that_at_which_most_policies_ran(results):
    results.cells["mix"]["p"]["3x"] = {"augserve": cell(1)}
    assert len(headline(results, JOB)) == 3


def test_a_policy_of_an_older_release_comes_last_under_its_name(results):
    results.cells["mix"]["p"]["2x"]["gone"] = cell(3)
    assert headline(results, JOB)["policy"].tolist()[-1] == "gone"
    assert order_of("gone") > order_of("augserve-oracle")


def test_an_ablation_shows_the_change_of_goodput(results):
    table = ablations(results, JOB)
    assert table["policy"].tolist() == ["augserve", "augserve-no-context"]
    assert table["change of goodput"].tolist() == ["–", "−20.0%"]


def test_without_ablations_their_table_is_empty(results):
    del results.cells["mix"]["p"]["2x"]
    assert ablations(results, JOB).empty


def test_a_capacity_is_a_bound_where_every_rate_missed_or_none_did(results):
    results.capacity90["mix"]["p"] |= {"mars": 49.5}
    results = dataclasses.replace(results, misses90={"mix": {"p": {"infercept": 6.19, "mars": None}}})
    names = ("augserve", "infercept", "mars", "sjf")
    assert [capacity_text(results, JOB, policy) for policy in names] == ["16.2", "< 6.19", "≥ 49.5", "–"]


def test_a_swing_shows_its_bounds_and_has_no_capacity_of_its_own(results):
    swing, job = swinging(results), (MIX_SWING, "p")
    assert load_text(MIX_SWING, 1.65) == "1.65× (0.3–3×)"
    assert set(headline(swing, job)["capacity@90, sessions/s"]) == {"–"}


def test_static_settings_are_the_best_of_those_tried_beside_the_default():
    tried = {
        "session-limit-tuned": {"session-limit@sessions=4": 8.0},
        "vllm-tuned": {"vllm": 8.0, "vllm@1024": 9.0, "vllm@2048": 9.0},
    }
    assert static_settings(tried, "score").to_numpy().tolist() == [
        ["vllm-tuned", "vllm@1024", "9", "8", "3"],
        ["session-limit-tuned", "session-limit@sessions=4", "8", "–", "1"],
    ]
    assert static_settings({}, "score").empty


def test_the_headline_states_the_ratio_of_augserve_to_each_policy(results):
    assert headline(results, JOB)[OVER_IT].tolist() == ["–", "2.50 [2.25–3.00]", "2.00"]


def test_policies_that_ran_have_the_words_of_the_catalogue(results):
    table = policies(results).set_index("policy")
    assert table.loc["infercept", "source"] == catalogue.INFERCEPT.source
    assert "continuum" not in table.index


def test_a_value_without_interval_stands_alone():
    assert value_text({"effective_throughput": 1.25}, "effective_throughput", ".1f") == "1.2"


def test_columns_of_figures_are_aligned_to_the_right():
    table = pd.DataFrame({"name": ["a", "b"], "value": ["1.0 [0–2]", "–"], "change": ["−1.5%", "< 6.1"]})
    assert numeric(table) == [False, True, True]
    assert markdown(table).splitlines()[1].count(":|") == 2


def test_a_csv_has_six_digits(tmp_path):
    write_csv(tmp_path / "x.csv", pd.DataFrame({"a": [1 / 3], "b": ["x"]}))
    assert (tmp_path / "x.csv").read_text() == "a,b\n0.333333,x\n"
