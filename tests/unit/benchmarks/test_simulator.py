import pytest

from benchmarks.simulator import targets

MET = {
    "stock_long_simulated_s_a_second": 301.0,
    "stock_long_outside_vllm_share": 0.3,
    "stock_long_peak_memory_mb": 800.0,
}


def test_reached_targets_are_met() -> None:
    assert targets(MET).count("| yes |") == 3


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        ("stock_long_simulated_s_a_second", 8.0),
        ("stock_long_outside_vllm_share", 0.31),
        ("stock_long_peak_memory_mb", 1025.0),
    ],
)
def test_a_missed_target_is_not_met(figure: str, value: float) -> None:
    assert targets(MET | {figure: value}).count("| no |") == 1
