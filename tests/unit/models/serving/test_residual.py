import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.models.serving.residual import conditional_quantiles, residual_quantiles

positive = st.floats(1e-4, 1e8)
triples = st.tuples(positive, positive, positive).map(sorted)


@given(triple=triples)
def test_residual_at_zero_equals_the_prediction(triple: list[float]) -> None:
    given_rows = np.array([triple], np.float32)
    spread = np.maximum(given_rows, given_rows[:, 1:2] * [[np.exp(-2e-3), 1, np.exp(2e-3)]])
    quantiles = residual_quantiles(given_rows, np.zeros(1))
    np.testing.assert_allclose(quantiles, given_rows, rtol=5e-3)
    assert np.isfinite(spread).all()


@given(triple=triples, passed=st.lists(st.floats(0, 1e9), min_size=1, max_size=6))
def test_residual_is_finite_ordered_and_not_negative(triple: list[float], passed: list[float]) -> None:
    rows = np.tile(np.array(triple, np.float32), (len(passed), 1))
    quantiles = residual_quantiles(rows, np.array(passed))
    assert quantiles.shape == (len(passed), 3)
    assert np.isfinite(quantiles).all()
    assert (quantiles >= 0).all()
    assert (np.diff(quantiles, axis=1) >= 0).all()


@given(triple=triples, passed=st.lists(st.floats(0, 1e8), min_size=2, max_size=6))
def test_elapsed_plus_residual_never_decreases(triple: list[float], passed: list[float]) -> None:
    ordered = np.sort(np.array(passed))
    quantiles = conditional_quantiles(np.tile(np.array(triple, np.float32), (len(ordered), 1)), ordered)
    assert (np.diff(quantiles, axis=0) >= -1e-6 * quantiles[1:]).all()


def test_residual_matches_samples_of_the_distribution() -> None:
    draw = np.random.default_rng(1).logistic(size=400_000)
    low, high = 0.5, 1.2
    sample = np.exp(np.log(50) + np.where(draw < 0, low, high) * draw)
    rows = np.quantile(sample, [0.1, 0.5, 0.9])[None].astype(np.float32)
    for passed in (5.0, 40.0, 120.0, 900.0):
        left = sample[sample > passed] - passed
        expected = np.quantile(left, [0.1, 0.5, 0.9])
        assert residual_quantiles(rows, np.array([passed]))[0] == pytest.approx(expected, rel=0.08)


def test_beyond_p90_the_residual_grows_with_the_elapsed_time() -> None:
    rows = np.tile(np.array([[10, 50, 200]], np.float32), (3, 1))
    medians = residual_quantiles(rows, np.array([200.0, 400.0, 800.0]))[:, 1]
    assert medians[0] < medians[1] < medians[2]
