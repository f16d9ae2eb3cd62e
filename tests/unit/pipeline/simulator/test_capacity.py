import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.pipeline.simulator.capacity import ATTAINMENT, bisect, bracket, capacity
from augserve.pipeline.simulator.errors import SimulationError


@given(st.floats(2.5, 17.9))
def test_the_search_closes_in_on_the_rate_from_below(true_rate):
    found = capacity(lambda rates: [1.0 if rate <= true_rate else 0.5 for rate in rates], 1.0, 18.0, 8)
    assert found is not None
    assert found <= true_rate
    assert true_rate - found <= 17 / 3**8 * 2 + 1e-9 or found > 17.9


@given(st.floats(2.5, 17.5))
def test_bisection_closes_in_from_below_with_a_run_a_round(true_rate):
    tried = []

    def attainment(rate):
        tried.append(rate)
        return 1.0 if rate <= true_rate else 0.5

    found = bisect(attainment, 1.0, 18.0, 8)
    assert found is not None
    assert 0 <= true_rate - found <= 17 / 2**8
    assert len(tried) == 8


def test_bisection_without_a_rate_good_enough_gives_none():
    assert bisect(lambda rate: 0.0, 1.0, 18.0, 5) is None


def test_no_rate_good_enough_gives_none():
    assert capacity(lambda rates: [0.0 for _ in rates], 1.0, 18.0, 5) is None


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 2.0), (3.0, 2.0)])
def test_bounds_out_of_order_are_refused(low, high):
    with pytest.raises(SimulationError, match="bounds"):
        capacity(lambda rates: [1.0 for _ in rates], low, high, 2)


@pytest.mark.parametrize("true_rate", [0.02, 0.7, 5.0, 9.9, 400.0])
def test_a_capacity_far_from_the_guess_is_bracketed(true_rate):
    low, high = bracket(lambda rates: [ATTAINMENT if rate <= true_rate else 0.5 for rate in rates], 10.0)
    assert low <= true_rate < high
    assert high == pytest.approx(4 * low)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_capacity_that_is_nowhere_is_one_line(share):
    with pytest.raises(SimulationError, match="is where the SLO begins to be missed") as caught:
        bracket(lambda rates: [share for _ in rates], 10.0)
    assert "\n" not in str(caught.value)
