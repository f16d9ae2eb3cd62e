from typing import Any

import pytest

from augserve.pipeline.results.columns import COLUMNS
from augserve.pipeline.results.metrics_file import EvaluationResults
from augserve.pipeline.results.tuning import Selection


def cell(effective: float) -> dict[str, float]:
    metrics = dict.fromkeys((*COLUMNS, "ttft_mean_s"), 0.5)
    interval = {"effective_throughput_low": 0.9 * effective, "effective_throughput_high": 1.1 * effective}
    return metrics | {"effective_throughput": effective} | interval


@pytest.fixture
def selection() -> Selection:
    """A choice of tuning on the workload of `results`."""
    scores = {"trial 3": {"tune": 1.3, "select": 1.2}, "defaults": {"tune": 1.0, "select": 1.0}}
    return Selection("trial 3", "p", "mix", (2.0, 1.0), 5.0, scores)


@pytest.fixture
def results() -> EvaluationResults:
    """Stock vLLM, InferCept and AugServe at two loads of one workload, and an ablation at the higher load."""
    low = {"vllm": cell(9), "infercept": cell(9), "augserve": cell(9)}
    high: dict[str, Any] = {"augserve": cell(10), "infercept": cell(5), "vllm": cell(4), "augserve-no-context": cell(8)}
    high["augserve"] |= {"over_vllm": 2.5, "over_vllm_low": 2.25, "over_vllm_high": 3.0}
    capacity90 = {"mix": {"p": {"vllm": 11.0, "augserve": 16.25, "infercept": None}}}
    return EvaluationResults({"mix": {"p": {"2": high, "1": low}}}, capacity90, {"mix": {"p": "vllm@2048x256"}})
