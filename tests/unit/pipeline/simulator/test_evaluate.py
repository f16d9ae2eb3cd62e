import dataclasses
import json
from concurrent.futures import Future

import pytest

from augserve.models.settings import SchedulerSettings, SettingsError
from augserve.pipeline.compare import CompareParams
from augserve.pipeline.comparison import Evaluation, capacities
from augserve.pipeline.evaluate import EvaluateParams, read_tuned
from augserve.pipeline.params import ParamsError
from augserve.pipeline.simulator.report import COLUMNS, plot_rows, summarize, table
from augserve.pipeline.stage import StageError

PARAMS = EvaluateParams(
    workloads=("augmentation-mix",),
    profiles=("p",),
    policies=("vllm", "augserve"),
    loads=(1.0, 2.0),
    capacity_policies=("vllm",),
    capacity_rounds=1,
    warmup_s=0.0,
    window_s=10.0,
    drain_s=0.0,
    trace_warmup_s=0.0,
    trace_window_s=10.0,
    processes=1,
)


def cell(effective):
    metrics = dict.fromkeys((metric for metric, _ in COLUMNS.values()), 0.0)
    return metrics | {"effective_throughput": effective}


def results(stock, ours):
    return {
        "mix": {"p": {"2": {"vllm": cell(stock), "augserve": cell(ours)}, "1": {"vllm": cell(9), "augserve": cell(9)}}}
    }


@pytest.mark.parametrize(
    "change",
    [
        {"loads": (1.0, -1.0)},
        {"loads": ()},
        {"policies": ("augserve",)},
        {"policies": ("vllm", "fifo")},
        {"capacity_policies": ("augserve",)},
        {"workloads": ("none",)},
        {"window_s": 0.0},
        {"processes": 0},
    ],
)
def test_a_parameter_out_of_range_is_named(change):
    with pytest.raises(ParamsError, match=f"evaluate.{next(iter(change))}"):
        dataclasses.replace(PARAMS, **change)


def test_a_section_s_errors_carry_its_own_name():
    values = {field.name: getattr(PARAMS, field.name) for field in dataclasses.fields(PARAMS)}
    with pytest.raises(ParamsError, match=r"compare\.loads"):
        CompareParams(**{**values, "loads": ()})


def test_the_summary_compares_at_the_highest_load():
    assert summarize(results(4.0, 10.0))["mix"]["p"] == {"load": 2.0, "effective_throughput": 10.0, "over_vllm": 2.5}


def test_a_rival_that_serves_nothing_in_time_has_no_ratio():
    summary = summarize(results(0.0, 10.0))
    assert summary["mix"]["p"]["over_vllm"] is None
    json.dumps(summary, allow_nan=False)


def test_the_table_lists_loads_in_order_and_stock_first():
    rows = [
        line
        for line in table(results(4.0, 10.0), {"mix": {"p": {"vllm": 11.0, "augserve": None}}}).splitlines()
        if line.startswith(("| 1x", "| 2x"))
    ]
    assert [row.split(" | ")[:3] for row in rows] == [
        ["| 1x", "vllm", "9.0"],
        ["| 1x", "augserve", "9.0"],
        ["| 2x", "vllm", "4.0"],
        ["| 2x", "augserve", "10.0"],
    ]


def test_the_plot_has_a_row_a_cell():
    rows = plot_rows(results(4.0, 10.0)).splitlines()
    assert rows[0].startswith("workload,profile,policy,load,")
    assert "mix,p,augserve,2,10,0,0" in rows
    assert len(rows) == 5


def test_tuned_settings_come_back_as_written(tmp_path):
    (tmp_path / "scheduler.json").write_text(json.dumps(SchedulerSettings().to_json()))
    (tmp_path / "capacity.json").write_text('{"sessions_per_s": 11.5}')
    assert read_tuned(tmp_path) == (SchedulerSettings(), 11.5)


def test_missing_or_foreign_tuned_files_are_one_clear_error(tmp_path):
    with pytest.raises(StageError, match=r"scheduler\.json.*dvc repro tune"):
        read_tuned(tmp_path)
    (tmp_path / "scheduler.json").write_text("{}")
    (tmp_path / "capacity.json").write_text("[]")
    with pytest.raises(StageError, match="not what `tune` writes"):
        read_tuned(tmp_path)
    (tmp_path / "capacity.json").write_text('{"sessions_per_s": 1}')
    with pytest.raises(SettingsError):
        read_tuned(tmp_path)


class KnownEngine:
    """Every policy keeps 90 % of the turns in time up to its own rate."""

    def __init__(self, rates):
        self.rates = rates

    def __call__(self, cell):
        attainment = 1.0 if cell.rate_per_s <= self.rates[cell.policy] else 0.2
        future = Future()
        future.set_result({"attainment": attainment})
        return future


def test_capacity_is_searched_about_stock_vllms():
    params = dataclasses.replace(PARAMS, capacity_policies=("augserve", "vllm"), capacity_rounds=6)
    evaluation = Evaluation(params, 1, SchedulerSettings(), guess_per_s=12.0)
    found = capacities(evaluation, KnownEngine({"vllm": 10.0, "augserve": 15.0}))["augmentation-mix"]["p"]
    assert found["vllm"] == pytest.approx(10.0, abs=0.05)
    assert found["augserve"] == pytest.approx(15.0, abs=0.05)


def test_capacity_on_traces_is_found_however_far_from_the_mix_s(tmp_path, monkeypatch):
    (tmp_path / "coding").mkdir()
    (tmp_path / "coding" / "turns.parquet").touch()
    monkeypatch.setattr("augserve.pipeline.simulator.cell.TRACES", tmp_path)
    params = dataclasses.replace(PARAMS, workloads=("coding",), capacity_rounds=6)
    evaluation = Evaluation(params, 1, SchedulerSettings(), guess_per_s=12.0)
    found = capacities(evaluation, KnownEngine({"vllm": 0.3}))["coding"]["p"]["vllm"]
    assert found == pytest.approx(0.3, rel=0.01)


def test_stock_vllm_without_a_capacity_is_an_error():
    evaluation = Evaluation(PARAMS, 1, SchedulerSettings(), guess_per_s=12.0)
    with pytest.raises(StageError, match=r"from 6\.0 sessions/s on"):
        capacities(evaluation, KnownEngine({"vllm": 0.0}))
