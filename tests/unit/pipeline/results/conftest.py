from typing import Any

import pytest

from augserve.pipeline.results.columns import AGENT_COLUMNS, COLUMNS
from augserve.pipeline.results.metrics_file import EvaluationResults
from augserve.pipeline.results.tuning import Selection


def cell(effective: float) -> dict[str, float]:
    metrics = dict.fromkeys((*COLUMNS, "ttft_mean_s"), 0.5)
    interval = {"effective_throughput_low": 0.9 * effective, "effective_throughput_high": 1.1 * effective}
    return metrics | {"effective_throughput": effective} | interval


def closed(steps: float) -> dict[str, float]:
    """A cell of a closed loop."""
    metrics = dict.fromkeys(AGENT_COLUMNS, 0.5)
    del metrics["steps_over_vllm"]
    interval = {"steps_per_minute_low": 0.9 * steps, "steps_per_minute_high": 1.1 * steps}
    return metrics | {"effective_throughput": steps / 60, "steps_per_minute": steps} | interval


@pytest.fixture
def selection() -> Selection:
    """A choice of tuning on the workload of `results`."""
    scores = {"trial 3": {"tune": 1.3, "select": 1.2}, "defaults": {"tune": 1.0, "select": 1.0}}
    return Selection("trial 3", (("mix", "p", "2x"), ("mix", "p", "1x"), ("mix", "q", "1x")), scores)


@pytest.fixture
def results() -> EvaluationResults:
    """Policies at two loads of one workload, an ablation at the higher load; and two numbers of agents of another."""
    low = {"vllm": cell(9), "infercept": cell(9), "augserve": cell(9)}
    high: dict[str, Any] = {"augserve": cell(10), "infercept": cell(5), "vllm": cell(4), "augserve-no-context": cell(8)}
    high["augserve"] |= {"over_vllm": 2.5, "over_vllm_low": 2.25, "over_vllm_high": 3.0, "over_infercept": 2.0}
    few = {"vllm": closed(60.0), "augserve": closed(60.0) | {"steps_over_vllm": 1.0}}
    many = {"uncached-first": closed(30.0), "vllm": closed(20.0), "augserve": closed(70.0)}
    many["augserve"] |= {"steps_over_vllm": 3.5, "steps_over_vllm_low": 3.0, "steps_over_vllm_high": 4.0}
    capacity90 = {"mix": {"p": {"vllm": 11.0, "augserve": 16.25, "infercept": None}}}
    cells = {"mix": {"p": {"2x": high, "1x": low}}, "coding-agents": {"p": {"16": many, "8": few}}}
    static = {"mix": {"p": {"vllm-tuned": {"vllm": 8.0, "vllm@2048x256": 9.0}}}}
    return EvaluationResults(cells, capacity90, static)
