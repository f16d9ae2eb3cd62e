import dataclasses
import json

import pytest

from augserve.pipeline.results.metrics_file import FORMAT, ResultsError, read_results, summarize, write_results


def test_what_is_written_is_read(tmp_path, evaluated):
    write_results(tmp_path / "metrics.json", evaluated)
    assert read_results(tmp_path / "metrics.json") == evaluated


def test_the_static_budgets_tried_are_kept_and_a_file_from_before_them_is_read(tmp_path, evaluated):
    path = tmp_path / "metrics.json"
    tried = dataclasses.replace(evaluated, budgets={"mix": {"p": {"1024": 8.5, "2048": 8.0}}})
    write_results(path, tried)
    assert read_results(path) == tried
    assert tried.tried("mix", "p") == {"1024": 8.5, "2048": 8.0}
    older = json.loads(path.read_text())
    del older["budgets"]
    path.write_text(json.dumps(older))
    assert read_results(path) == evaluated
    assert evaluated.tried("mix", "p") == {}


def test_what_missed_above_a_capacity_is_kept_and_a_file_from_before_it_is_read(tmp_path, evaluated):
    path = tmp_path / "metrics.json"
    found = dataclasses.replace(evaluated, misses90={"mix": {"p": {"infercept": 5.5, "augserve": None}}})
    write_results(path, found)
    assert read_results(path) == found
    older = json.loads(path.read_text())
    del older["misses90"]
    path.write_text(json.dumps(older))
    assert read_results(path) == evaluated


def test_cells_stand_where_the_contract_says(tmp_path, evaluated):
    write_results(tmp_path / "metrics.json", evaluated)
    value = json.loads((tmp_path / "metrics.json").read_text())
    assert value["mix"]["p"]["2"]["augserve"]["effective_throughput"] == 10
    assert value["capacity90"]["mix"]["p"]["vllm"] == 11
    assert value["format"] == FORMAT


def test_the_summary_compares_at_the_highest_load(evaluated):
    summary = summarize(evaluated)["mix"]["p"]
    assert summary == {
        "load": 2.0,
        "effective_throughput": 10,
        "over_vllm": 2.5,
        "over_infercept": 2.0,
        "over_augserve-no-context": 1.25,
        "over_vllm_low": 2.25,
        "over_vllm_high": 3.0,
    }


def test_a_rival_that_serves_nothing_in_time_has_no_ratio(tmp_path, evaluated):
    evaluated.results["mix"]["p"]["2"]["vllm"]["effective_throughput"] = 0.0
    assert summarize(evaluated)["mix"]["p"]["over_vllm"] is None
    write_results(tmp_path / "metrics.json", evaluated)  # as JSON, which knows no infinity


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("{", "not JSON"),
        ("[]", "format None of another version"),
        ('{"mix": {"p": {"2": {"vllm": {}}}}, "capacity90": {}, "summary": {}}', "format 1 of an older version"),
        ('{"format": 99}', "format 99 of another version"),
        ('{"format": 2}', "incomplete.*no workload"),
        ('{"format": 2, "mix": {"p": {"2": {"vllm": {}}}}}', "incomplete.*effective_throughput"),
        ('{"format": 2, "mix": {"p": {"high": {}}}}', "incomplete"),
        ('{"format": 2, "mix": {"p": {"2": {}}}}', "incomplete.*capacity90"),
        ('{"format": 2, "mix": [1]}', "incomplete"),
    ],
)
def test_a_file_of_another_version_is_one_clear_line(tmp_path, text, message):
    path = tmp_path / "evaluate" / "metrics.json"
    path.parent.mkdir()
    if text is not None:
        path.write_text(text)
    with pytest.raises(ResultsError, match=rf"metrics\.json: .*{message}.*; run `dvc repro evaluate`") as error:
        read_results(path)
    assert "\n" not in str(error.value)


def test_the_remedy_of_the_long_comparison_is_its_own(tmp_path):
    with pytest.raises(ResultsError, match="make compare"):
        read_results(tmp_path / "compare" / "metrics.json")
