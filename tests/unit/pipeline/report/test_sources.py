import json

import pytest

from augserve.models.serving.target import QUANTILE_TARGETS
from augserve.pipeline.report.sources import PREDICTED, fidelity, live, policies, predictors
from augserve.pipeline.results.metrics_file import ResultsError
from augserve.pipeline.simulator import catalogue

SVG = '<svg width="10pt"/>'
LIVE = {
    "vllm": {"effective_throughput": 2.0, "attainment": 0.25, "unfinished": 0.0},
    "augserve": {"effective_throughput": 5.0, "attainment": 0.5, "unfinished": 3.0},
    "conditions": {"duration_s": 300.0, "load": 2.0, "slo": {"ttft_s": 1.5, "tpot_s": 0.15}},
}


def write(folder, name, value):
    (folder / name).write_text(json.dumps(value))


def test_policies_that_ran_have_the_words_of_the_catalogue(results):
    table = policies(results).set_index("policy")
    assert table.loc["infercept", "source"] == catalogue.INFERCEPT.source
    assert "continuum" not in table.index


def test_every_quantile_target_has_a_meaning():
    assert set(PREDICTED) == {target.name for target in QUANTILE_TARGETS}


def test_predictors_without_an_absolute_error_are_left_out():
    table = predictors({"set": {"ends_in_tool": {"auc": 0.8}, "output_length": {"mae": 3.0}}, "note": "x"})
    assert table.to_numpy().tolist() == [["set", PREDICTED["output_length"], "–", "3", "–", "–"]]


def test_fidelity_shows_real_and_simulated_values(tmp_path):
    assert fidelity(tmp_path) is None
    write(tmp_path, "metrics.json", {"1": {"vllm": {"ttft_p50_s": {"real": 0.5, "simulated": 0.55}}}})
    write(tmp_path, "summary.json", {"median_relative_error_of_all": 0.083, "attainment_largest_difference": 0.021})
    (tmp_path / "fidelity.svg").write_text(SVG)
    parts = fidelity(tmp_path)
    assert parts["summary"].to_numpy().tolist() == [["8.3%", "2.1 points"]]
    assert parts["table"]["TTFT p50, s"].tolist() == ["0.5 / 0.55"]


def test_live_compares_augserve_with_stock_vllm(tmp_path):
    assert live(tmp_path) is None
    write(tmp_path, "metrics.json", LIVE)
    parts = live(tmp_path)
    assert parts["conditions"].to_numpy().tolist() == [["2×", "5", "1.5", "0.15"]]
    assert parts["table"].to_numpy().tolist() == [
        ["goodput, turns/s", "2", "5", "2.50"],
        ["SLO attainment", "0.25", "0.5", "2.00"],
        ["unfinished turns", "0", "3", "–"],
    ]


@pytest.mark.parametrize("lost", ["vllm", "conditions"])
def test_a_damaged_live_report_is_one_line_with_its_name(tmp_path, lost):
    write(tmp_path, "metrics.json", {name: part for name, part in LIVE.items() if name != lost})
    with pytest.raises(ResultsError, match=rf"metrics\.json.*{lost}") as error:
        live(tmp_path)
    assert "\n" not in str(error.value)
