import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.pipeline.simulator.cells.capacity import ATTAINMENT, Bracket, bracket, bracket_of, capacity, narrow
from augserve.pipeline.simulator.errors import SimulationError


@given(st.floats(2.5, 17.9))
def test_the_search_approaches_the_capacity_from_below(true_rate):
    found = capacity(lambda rates: [1.0 if rate <= true_rate else 0.5 for rate in rates], 1.0, 18.0, 8)
    assert found is not None
    assert found <= true_rate
    assert true_rate - found <= 17 / 3**8 * 2 + 1e-9 or found > 17.9


def step_at(true_rate, over=1.0, under=0.0):
    """Attainment that falls from one value to another, and the rates asked of it."""
    tried = []

    def attainment(rate):
        tried.append(rate)
        return over if rate <= true_rate else under

    return attainment, tried


@given(st.floats(0.51, 3.9), st.floats(0.9, 1.0), st.floats(0.0, 0.89), st.floats(0.02, 0.3))
def test_any_capacity_is_narrowed_to_the_requested_width(true_rate, over, under, within):
    attainment, tried = step_at(10 * true_rate, over, under)
    shown = {10.0 * load: attainment(10.0 * load) for load in (1.0, 2.0)}
    tried.clear()
    found = narrow(attainment, shown, 10.0, within)
    assert found.reached is not None
    assert found.missed is not None
    assert found.reached <= 10 * true_rate < found.missed
    assert found.missed - found.reached <= 10 * within * 1.0001
    assert len(tried) <= 2 + 2 + math.ceil(math.log2(2 / within))


def test_a_drop_just_beyond_a_cell_takes_one_run():
    attainment, tried = step_at(12.1, over=0.95, under=0.1)
    assert narrow(attainment, {12.0: 0.95, 24.0: 0.1}, 12.0, 0.06) == Bracket(12.0, pytest.approx(12.72))
    assert len(tried) == 1


def test_a_linear_fall_takes_two_runs():
    tried = []

    def line(rate):
        tried.append(rate)
        return 1 - 0.1 * rate / 15.2

    found = narrow(line, {10.0: line(10.0), 20.0: line(20.0)}, 10.0, 0.06)
    assert len(tried) == 2 + 2
    assert found.reached == pytest.approx(15.2)
    assert found.missed == pytest.approx(15.8)


def test_below_the_floor_a_capacity_is_a_bound_after_one_light_run():
    attainment, tried = step_at(4.0)
    assert narrow(attainment, {10.0: 0.0, 20.0: 0.0}, 10.0, 0.06) == Bracket(None, 5.0)
    assert tried == [5.0]
    assert narrow(attainment, {5.0: 0.0}, 10.0, 0.06) == Bracket(None, 5.0)  # a cell has shown it
    assert tried == [5.0]


def test_beyond_the_cap_a_capacity_is_a_bound():
    attainment, tried = step_at(1000.0)
    assert narrow(attainment, {10.0: 1.0, 20.0: 1.0}, 10.0, 0.06) == Bracket(40.0, None)
    assert tried == [30.0, 40.0]


def test_a_policy_without_cells_begins_at_the_unit():
    attainment, tried = step_at(13.0)
    found = narrow(attainment, {}, 10.0, 0.06)
    assert tried[0] == 10.0
    assert found.reached is not None
    assert 12.4 <= found.reached <= 13.0


def test_a_miss_below_a_rate_that_reached_is_chance():
    assert bracket_of({10.0: 0.89, 14.0: 0.91, 20.0: 0.8, 30.0: 0.7}) == Bracket(14.0, 20.0)
    assert bracket_of({10.0: 0.89, 14.0: 0.7}) == Bracket(None, 10.0)
    assert bracket_of({10.0: 0.9}) == Bracket(10.0, None)


def test_without_a_rate_that_reaches_attainment_there_is_no_capacity():
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
def test_a_capacity_that_cannot_be_bracketed_is_an_error(share):
    with pytest.raises(SimulationError, match="capacity") as caught:
        bracket(lambda rates: [share for _ in rates], 10.0)
    assert "\n" not in str(caught.value)
