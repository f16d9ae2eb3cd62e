"""What a cell leaves for its report, from runs of vLLM's own scheduler."""

import dataclasses
import json

import pytest

from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.results.intervals import cells_of
from augserve.pipeline.simulator.cells.cell import Cell, run_cell
from augserve.pipeline.simulator.cells.evidence import run_evidence
from augserve.pipeline.simulator.cells.schedule import Schedule
from augserve.pipeline.simulator.errors import SimulationError
from augserve.pipeline.simulator.profile import StepProfile
from augserve.pipeline.simulator.record.evidence import Evidence


@pytest.fixture(scope="module")
def cell(profile: StepProfile, settings: SchedulerSettings, tmp_path_factory: pytest.TempPathFactory) -> Cell:
    path = tmp_path_factory.mktemp("profiles") / "small.json"
    profile.save(path)
    return Cell("augmentation-mix", "vllm", path, 0.4, 5, Schedule(5.0, 20.0, 10.0), settings, None)


@pytest.fixture(scope="module")
def evidence(cell: Cell) -> Evidence:
    return run_evidence(cell)


def test_turns_and_sessions_add_up_to_the_metrics(cell: Cell, evidence: Evidence) -> None:
    metrics, samples = evidence.metrics, evidence.samples
    assert metrics == run_cell(cell)
    turns = len(samples.ttft_s)
    assert turns == len(samples.in_time) == len(samples.turn_sessions) == metrics["turns"] > 10
    assert sum(samples.in_time) / samples.window_s == pytest.approx(metrics["effective_throughput"])
    in_time = sum(samples.ended_in_time)
    assert in_time / samples.window_s == pytest.approx(metrics["session_effective_throughput"])
    assert sum(samples.steps) / samples.window_s == pytest.approx(metrics["throughput"])
    assert max(samples.ttft_s) == metrics["longest_wait_s"]


def test_the_step_series_covers_the_whole_run(cell: Cell, evidence: Evidence) -> None:
    assert evidence.bins_s == sorted(set(evidence.bins_s))
    assert 0 <= evidence.bins_s[0] < evidence.bins_s[-1] <= cell.schedule.end_s + 1
    assert set(evidence.token_budget) == {1024.0}
    assert all(0 <= usage <= 1 for usage in evidence.kv_usage)


def test_evidence_survives_json(evidence: Evidence) -> None:
    assert Evidence.from_json(json.loads(json.dumps(evidence.to_json(), allow_nan=False))) == evidence


def test_a_cell_of_one_run_has_the_metrics_of_the_run(evidence: Evidence) -> None:
    cell = cells_of({"vllm": [evidence]}, 1)["vllm"]
    for name, value in evidence.metrics.items():
        assert cell[name] == pytest.approx(value, abs=1e-5)


def test_a_closed_loop_has_all_its_agents_at_work(cell: Cell) -> None:
    schedule = Schedule(30.0, 60.0, 5.0)
    closed = dataclasses.replace(cell, rate_per_s=None, agents=6, schedule=schedule, pause_cap_s=2.0)
    found = {policy: run_evidence(dataclasses.replace(closed, policy=policy)) for policy in ("vllm", "uncached-first")}
    for evidence in found.values():
        samples, metrics = evidence.samples, evidence.metrics
        assert sum(samples.present_s) == pytest.approx(6 * 60.0)
        assert sum(samples.steps) == pytest.approx(metrics["steps_per_minute"])
        assert len(samples.ended) == pytest.approx(metrics["sessions_per_hour"] / 60)
        assert 0 < metrics["prefix_hit_rate"] <= metrics["best_hit_rate"] < 1
        assert 0 <= metrics["recompute_share"] < 1
        assert metrics["serving_time_mean_s"] <= metrics["session_time_mean_s"]
    cells = cells_of({policy: [evidence] for policy, evidence in found.items()}, 1)
    ratio = cells["uncached-first"]["steps_over_vllm"]
    assert cells["uncached-first"]["steps_over_vllm_low"] <= ratio <= cells["uncached-first"]["steps_over_vllm_high"]


def test_a_cell_is_an_open_or_a_closed_loop(cell: Cell) -> None:
    for agents, rate_per_s in ((6, 1.0), (None, None)):
        with pytest.raises(SimulationError, match="one of them"):
            run_cell(dataclasses.replace(cell, agents=agents, rate_per_s=rate_per_s))


def test_the_ablation_without_predictions_runs_without_models(cell: Cell) -> None:
    unpredicted = run_evidence(dataclasses.replace(cell, policy="augserve-no-predictors"))
    assert unpredicted.metrics["turns"] > 10
