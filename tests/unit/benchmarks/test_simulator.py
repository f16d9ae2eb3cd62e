import json
from pathlib import Path

import pytest

from benchmarks.simulator import said

REPORT = Path(__file__).parents[3] / "reports" / "bench" / "simulator.json"


@pytest.fixture
def figures() -> dict[str, float]:
    """Those of the report that is committed."""
    found: dict[str, float] = json.loads(REPORT.read_text())
    return found


def test_a_missed_target_is_said_with_what_vllms_own_methods_take(figures: dict[str, float]) -> None:
    figures |= {"stock_long_simulated_s_a_second": 8.0, "stock_long_vllm_ceiling_simulated_s_a_second": 10.0}
    text = " ".join(said(figures | {"stock_long_outside_vllm_share": 0.2}).split())
    assert (
        "8.0; asked 300: missed. vLLM's own methods (`add_request`, `schedule`, `update_from_output`) take 80%" in text
    )
    assert "it would be 10.0" in text
    assert "spends 100 ms; 300 would leave 3.3 ms" in text


def test_targets_that_are_met_are_said_to_be(figures: dict[str, float]) -> None:
    assert said(figures | {"stock_long_simulated_s_a_second": 301.0}).count("missed") == 0
    assert (
        said(figures | {"stock_long_peak_memory_mb": 1025.0, "stock_long_outside_vllm_share": 0.31}).count("missed")
        == 3
    )
