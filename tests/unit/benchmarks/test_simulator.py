import pytest

from benchmarks.simulator import targets

MET = {
    "coding_vllm_simulated_s_a_second": 301.0,
    "coding_augserve_simulated_s_a_second": 301.0,
    "mix_2x_vllm_simulated_s_a_second": 30.0,
    "mix_2x_augserve_simulated_s_a_second": 30.0,
    "mix_2x_vllm_single_simulated_s_a_second": 9.0,
    "mix_2x_augserve_single_simulated_s_a_second": 9.0,
    "stock_long_simulated_s_a_second": 301.0,
    "stock_long_outside_vllm_share": 0.3,
    "stock_long_peak_memory_mb": 800.0,
}


def test_reached_targets_are_met() -> None:
    assert targets(MET).count("| yes |") == 7


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        ("coding_augserve_simulated_s_a_second", 299.0),
        ("mix_2x_vllm_simulated_s_a_second", 26.0),
        ("stock_long_simulated_s_a_second", 8.0),
        ("stock_long_outside_vllm_share", 0.31),
        ("stock_long_peak_memory_mb", 1025.0),
    ],
)
def test_a_missed_target_is_not_met(figure: str, value: float) -> None:
    assert targets(MET | {figure: value}).count("| no |") == 1
