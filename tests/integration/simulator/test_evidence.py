"""What a cell leaves for its report, from runs of vLLM's own scheduler."""

import dataclasses
import json

import pytest

from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.results.intervals import cells_of
from augserve.pipeline.simulator.cells.cell import Cell, Schedule, run_cell
from augserve.pipeline.simulator.cells.evidence import run_evidence
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
    metrics = evidence.metrics
    assert metrics == run_cell(cell)
    assert len(evidence.ttft_s) == len(evidence.in_time) == len(evidence.turn_sessions) == metrics["turns"] > 10
    assert sum(evidence.in_time) / evidence.window_s == pytest.approx(metrics["effective_throughput"])
    assert sum(evidence.sessions_in_time) / evidence.window_s == pytest.approx(metrics["session_effective_throughput"])
    assert max(evidence.ttft_s) == pytest.approx(metrics["longest_wait_s"], abs=1e-6)


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


def test_the_ablation_without_predictions_runs_without_models(cell: Cell) -> None:
    unpredicted = run_evidence(dataclasses.replace(cell, policy="augserve-no-predictors"))
    assert unpredicted.metrics["turns"] > 10
