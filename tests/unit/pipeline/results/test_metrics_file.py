import dataclasses
import json

import pytest

from augserve.pipeline.results.metrics_file import (
    FORMAT,
    ResultsError,
    closed_loop,
    is_closed,
    open_loop,
    read_results,
    summarize,
    write_results,
)

from .conftest import closed


def test_results_are_read_back_as_written(tmp_path, results):
    write_results(tmp_path / "metrics.json", results)
    assert read_results(tmp_path / "metrics.json") == results


def test_the_settings_tried_and_the_missed_rates_are_read_back(tmp_path, results):
    path = tmp_path / "metrics.json"
    more = dataclasses.replace(
        results,
        agent_static={"coding-agents": {"p": {"vllm-tuned": {"vllm": 8.5}}}},
        misses90={"mix": {"p": {"infercept": 5.5, "augserve": None}}},
    )
    write_results(path, more)
    assert read_results(path) == more


def test_workloads_stay_in_the_order_in_which_they_ran(tmp_path, results):
    cells = dict(sorted(results.cells.items(), reverse=True))
    write_results(tmp_path / "metrics.json", dataclasses.replace(results, cells=cells))
    assert list(read_results(tmp_path / "metrics.json").cells) == list(cells)


def test_the_file_has_the_form_of_the_contract(tmp_path, results):
    write_results(tmp_path / "metrics.json", results)
    value = json.loads((tmp_path / "metrics.json").read_text())
    assert value["mix"]["p"]["2x"]["augserve"]["effective_throughput"] == 10
    assert value["coding-agents"]["p"]["16"]["augserve"]["steps_per_minute"] == 70
    assert value["capacity90"]["mix"]["p"]["vllm"] == 11
    assert value["format"] == FORMAT


def test_the_summary_compares_at_the_main_load(results):
    summary = summarize(results)["mix"]["p"]
    assert summary == {
        "load": 2.0,
        "effective_throughput": 10,
        "over_vllm": 2.5,
        "over_infercept": 2.0,
        "over_vllm_low": 2.25,
        "over_vllm_high": 3.0,
    }


def test_the_summary_of_a_closed_loop_is_by_agents(results):
    assert summarize(results)["coding-agents"]["p"] == {
        "8": {"steps_per_minute": 60.0, "steps_over_vllm": 1.0},
        "16": {
            "steps_per_minute": 70.0,
            "steps_over_vllm": 3.5,
            "steps_over_vllm_low": 3.0,
            "steps_over_vllm_high": 4.0,
        },
    }


def test_open_and_closed_loops_of_one_workload_are_kept_apart(results):
    results.cells["mix"]["p"]["40"] = {"vllm": closed(5.0)}
    assert list(results.by_load(("mix", "p"))) == [1.0, 2.0]
    assert list(results.by_agents(("mix", "p"))) == [40]
    assert results.main_load(("mix", "p")) == 2.0
    assert results.jobs == [("mix", "p")]
    assert results.agent_jobs == [("mix", "p"), ("coding-agents", "p")]


@pytest.mark.parametrize(("load", "name"), [(2.0, "2x"), (0.25, "0.25x"), (1.65, "1.65x")])
def test_a_load_and_a_number_of_agents_have_different_names(load, name):
    assert open_loop(load) == name
    assert not is_closed(name)
    assert is_closed(closed_loop(16))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("{", "not JSON"),
        ("[]", "format None"),
        ('{"mix": {"p": {"2": {"vllm": {}}}}, "capacity90": {}, "summary": {}}', "format 1"),
        ('{"format": 99}', "format 99"),
        ('{"format": 2, "mix": {"p": {"2": {}}}}', "format 2"),
        ('{"format": 4}', "no workload"),
        ('{"format": 4, "mix": {"p": {"2x": {"vllm": {}}}}}', "effective_throughput"),
        ('{"format": 4, "mix": {"p": {"high": {}}}}', "'high' is no load"),
        ('{"format": 4, "mix": {"p": {"1.5": {}}}}', "'1.5' is no load"),
        ('{"format": 4, "mix": {"p": {"2x": {}}}}', "capacity90"),
        ('{"format": 4, "mix": [1]}', "incomplete"),
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
