from typing import Any

import pytest

from augserve.pipeline.results.metrics_file import Evaluated
from augserve.pipeline.results.tables import COLUMNS
from augserve.pipeline.results.tuning import Selection


def cell(effective: float) -> dict[str, float]:
    metrics = dict.fromkeys((*(metric for metric, _ in COLUMNS.values()), "ttft_mean_s"), 0.5)
    interval = {"effective_throughput_low": 0.9 * effective, "effective_throughput_high": 1.1 * effective}
    return metrics | {"effective_throughput": effective} | interval


@pytest.fixture
def selection() -> Selection:
    """What tuning would have chosen on the workload of `evaluated`."""
    scores = {"trial 3": {"tune": 1.3, "select": 1.2}, "defaults": {"tune": 1.0, "select": 1.0}}
    return Selection("trial 3", "p", "mix", (2.0, 1.0), 5.0, scores)


@pytest.fixture
def evaluated() -> Evaluated:
    """Two loads of stock vLLM, InferCept and ours on one workload; at the higher one, where stock serves 4, ablations
    too."""
    low = {"vllm": cell(9), "infercept": cell(9), "augserve": cell(9)}
    high: dict[str, Any] = {"augserve": cell(10), "infercept": cell(5), "vllm": cell(4), "augserve-no-context": cell(8)}
    high["augserve"] |= {"over_vllm": 2.5, "over_vllm_low": 2.25, "over_vllm_high": 3.0}
    capacity90 = {"mix": {"p": {"vllm": 11.0, "augserve": 16.25, "infercept": None}}}
    return Evaluated({"mix": {"p": {"2": high, "1": low}}}, capacity90, {"mix": {"p": "vllm@2048x256"}})
