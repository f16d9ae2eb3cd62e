import dataclasses

import pytest

from augserve.pipeline.evaluate.distributions import distributions
from augserve.pipeline.simulator.record.evidence import Evidence
from augserve.pipeline.simulator.record.samples import Samples


def evidence(wait_s):
    samples = Samples(
        10.0, False, sessions=["a", "b"], kinds=["math", "qa"],
        turn_sessions=[0, 0, 1], ttft_s=[wait_s, wait_s, 3.0], in_time=[1, 1, 0],
    )  # fmt: skip
    return Evidence({}, samples, [0.0, 1.0], [8192.0, 512.0], [0.2, 0.9])


def tables_of(runs):
    evidences = {("mix", "p", "2x"): runs, ("mix", "p", "1x"): {"vllm": [evidence(1.0)]}}
    return distributions(evidences, {("mix", "p"): 2.0})


def test_ttft_is_that_of_the_main_load_over_all_runs():
    table = tables_of({"vllm": [evidence(9.0)], "augserve": [evidence(0.1), evidence(0.2)]})["ttft"]
    assert table.columns.tolist() == ["workload", "profile", "policy", "share", "ttft_s"]
    assert table[table["policy"] == "vllm"]["ttft_s"].max() == 9.0
    assert table[table["policy"] == "augserve"]["ttft_s"].min() == 0.1


def test_waiting_is_by_kind_of_session_over_all_runs():
    table = tables_of({"vllm": [evidence(9.0)], "augserve": [evidence(0.1), evidence(0.2)]})["waiting"]
    rows = table.set_index(["policy", "kind"])
    assert rows.loc[("augserve", "math"), "turns"] == 4
    assert rows.loc[("augserve", "math"), "ttft_p50_s"] == pytest.approx(0.15)
    assert rows.loc[("augserve", "math"), "turns_in_time"] == 1.0
    assert rows.loc[("vllm", "qa"), "turns_in_time"] == 0.0


def test_a_long_run_is_thinned_to_means():
    budgets = [512.0 if number % 10 else 1024.0 for number in range(1200)]
    long = dataclasses.replace(
        evidence(1.0), bins_s=[float(n) for n in range(1200)], token_budget=budgets, kv_usage=[0.25] * 1200
    )
    table = tables_of({"vllm": [long]})["steps"]
    assert len(table) == 120
    assert table.iloc[0, 3:].tolist() == [0.0, pytest.approx(563.2), 0.25]
