import pytest

from augserve.pipeline.simulator.rivals.continuum import time_to_live_s


def test_without_observations_the_time_to_live_is_zero() -> None:
    assert time_to_live_s([], 100.0) == 0


def test_the_time_to_live_is_the_duration_with_the_largest_gain() -> None:
    # Saved 10 s: tau 1 gains 0.75 x 10 - 1 = 6.5, tau 20 gains 10 - 20 < 0.
    assert time_to_live_s([1.0, 1.0, 20.0, 1.0], 10.0) == 1.0
    # Saved 100 s: 0.75 x 100 - 1 = 74 against 100 - 20 = 80.
    assert time_to_live_s([1.0, 1.0, 20.0, 1.0], 100.0) == 20.0


def test_a_tool_slower_than_the_saving_has_no_time_to_live() -> None:
    assert time_to_live_s([5.0, 6.0], 4.0) == 0


def test_the_shortest_of_equal_gains_wins() -> None:
    # tau 1: 0.5 x 4 - 1 = 1; tau 3: 4 - 3 = 1
    assert time_to_live_s([3.0, 1.0], 4.0) == pytest.approx(1.0)
