import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.models.learning.censoring import BEYOND, beyond, impute, kaplan_meier
from augserve.models.learning.training_set import TrainingSet
from augserve.models.serving.target import ENDS_IN_TOOL, OUTPUT_LENGTH

MakeSet = Callable[..., TrainingSet]


def test_kaplan_meier_matches_a_worked_example() -> None:
    values, censored = np.array([1.0, 2.0, 2.0, 3.0, 4.0]), np.array([False, False, True, False, True])
    times, survival = kaplan_meier(values, censored)
    assert times.tolist() == [1, 2, 3]
    assert survival == pytest.approx([4 / 5, 4 / 5 * 3 / 4, 4 / 5 * 3 / 4 * 1 / 2])


@given(
    values=st.lists(st.floats(0, 1e6), min_size=1, max_size=30),
    bounds=st.lists(st.floats(0, 1e6), min_size=1, max_size=5),
    draw=st.floats(0, 0.999),
    data=st.data(),
)
def test_imputed_values_exceed_their_bounds(
    values: list[float], bounds: list[float], draw: float, data: st.DataObject
) -> None:
    censored = np.array(data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))))
    imputed = beyond(np.array(values), censored, np.array(bounds), np.full(len(bounds), draw))
    assert np.isfinite(imputed).all()
    assert (imputed > np.array(bounds)).all()


def test_cut_output_is_imputed_as_longer(make_set: MakeSet) -> None:
    data = make_set(OUTPUT_LENGTH)
    limit = float(np.quantile(data.values, 0.6))
    censored = (data.values > limit) & (np.arange(len(data)) % 2 == 0)
    known = impute(dataclasses.replace(data, values=np.where(censored, limit, data.values), censored=censored), 1)
    assert (known.values[censored] > limit).all()
    assert not known.censored.any()
    np.testing.assert_array_equal(known.values[~censored], data.values[~censored])
    assert np.quantile(known.values, 0.9) == pytest.approx(np.quantile(data.values, 0.9), rel=0.25)


def test_bound_above_all_values_is_doubled(make_set: MakeSet) -> None:
    data = make_set(OUTPUT_LENGTH)
    cut = dataclasses.replace(data, values=np.minimum(data.values, 3.0), censored=data.values > 3)
    assert set(impute(cut, 1).values[cut.censored].tolist()) == {3.0 * BEYOND}


def test_probability_is_not_imputed(make_set: MakeSet) -> None:
    data = dataclasses.replace(make_set(ENDS_IN_TOOL), censored=np.ones(400, np.bool_))
    assert impute(data, 1) is data
