import dataclasses
import json

import pytest

from augserve.pipeline.results.metrics_file import FORMAT, ResultsError, read_results, summarize, write_results


def test_results_are_read_back_as_written(tmp_path, results):
    write_results(tmp_path / "metrics.json", results)
    assert read_results(tmp_path / "metrics.json") == results


def test_the_budgets_tried_and_the_missed_rates_are_read_back(tmp_path, results):
    path = tmp_path / "metrics.json"
    more = dataclasses.replace(
        results, budgets={"mix": {"p": {"1024": 8.5}}}, misses90={"mix": {"p": {"infercept": 5.5, "augserve": None}}}
    )
    write_results(path, more)
    assert read_results(path) == more


def test_the_file_has_the_form_of_the_contract(tmp_path, results):
    write_results(tmp_path / "metrics.json", results)
    value = json.loads((tmp_path / "metrics.json").read_text())
    assert value["mix"]["p"]["2"]["augserve"]["effective_throughput"] == 10
    assert value["capacity90"]["mix"]["p"]["vllm"] == 11
    assert value["format"] == FORMAT


def test_the_summary_compares_at_the_main_load(results):
    summary = summarize(results)["mix"]["p"]
    assert summary == {
        "load": 2.0,
        "effective_throughput": 10,
        "over_vllm": 2.5,
        "over_infercept": 2.0,
        "over_augserve-no-context": 1.25,
        "over_vllm_low": 2.25,
        "over_vllm_high": 3.0,
    }


def test_a_rival_without_goodput_has_no_ratio(tmp_path, results):
    results.cells["mix"]["p"]["2"]["vllm"]["effective_throughput"] = 0.0
    assert summarize(results)["mix"]["p"]["over_vllm"] is None
    write_results(tmp_path / "metrics.json", results)  # as JSON, which knows no infinity


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("{", "not JSON"),
        ("[]", "format None"),
        ('{"mix": {"p": {"2": {"vllm": {}}}}, "capacity90": {}, "summary": {}}', "format 1"),
        ('{"format": 99}', "format 99"),
        ('{"format": 2}', "no workload"),
        ('{"format": 2, "mix": {"p": {"2": {"vllm": {}}}}}', "effective_throughput"),
        ('{"format": 2, "mix": {"p": {"high": {}}}}', "incomplete"),
        ('{"format": 2, "mix": {"p": {"2": {}}}}', "capacity90"),
        ('{"format": 2, "mix": [1]}', "incomplete"),
    ],
)
def test_a_foreign_file_is_one_line_with_its_name_and_remedy(tmp_path, text, message):
    path = tmp_path / "evaluate" / "metrics.json"
    path.parent.mkdir()
    if text is not None:
        path.write_text(text)
    with pytest.raises(ResultsError, match=rf"metrics\.json: .*{message}.*dvc repro evaluate") as error:
        read_results(path)
    assert "\n" not in str(error.value)


def test_the_remedy_of_the_long_comparison_is_its_own(tmp_path):
    with pytest.raises(ResultsError, match="make compare"):
        read_results(tmp_path / "compare" / "metrics.json")
