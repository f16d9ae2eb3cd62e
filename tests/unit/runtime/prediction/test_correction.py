import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.features.running import MAX_NAMES
from augserve.runtime.prediction.correction import ALARM_WIDTH, LIMIT, MAX_WIDTH, Correction

PREDICTED = (5.0, 10.0, 20.0)


def test_without_observations_nothing_is_corrected() -> None:
    correction = Correction("output length")
    assert correction.factor("bash") == 1.0
    assert correction.corrected(PREDICTED, "bash") == pytest.approx(PREDICTED)
    assert math.isnan(correction.coverage)


def test_a_steady_error_is_corrected_for_the_tool_and_less_for_others() -> None:
    correction = Correction("tool duration")
    for _ in range(200):
        correction.observe(PREDICTED, "bash", 20.0)
        correction.observe(PREDICTED, "read", 10.0)
    assert 1.6 < correction.factor("bash") <= 2.0
    assert 0.95 < correction.factor("read") < 1.3
    assert 1.0 < correction.factor("new tool") < 1.7


def test_few_observations_change_little() -> None:
    correction = Correction("tool duration")
    correction.observe(PREDICTED, "bash", 100.0)
    assert correction.factor("bash") < 1.1


def test_rare_extremes_hardly_change_the_correction() -> None:
    draw = random.Random(1)
    correction = Correction("output length")
    for _ in range(2000):
        correction.observe(PREDICTED, None, 10_000.0 if draw.random() < 0.05 else 10.0)
    assert 0.9 < correction.factor(None) < 1.15


@given(st.lists(st.tuples(st.floats(1e-6, 1e9), st.sampled_from([None, "a", "b"])), max_size=200))
def test_corrections_are_bounded_and_never_cross(observed: list[tuple[float, str | None]]) -> None:
    correction = Correction("output length")
    for actual, name in observed:
        correction.observe(PREDICTED, name, actual)
    for name in (None, "a", "b", "c"):
        assert math.exp(-LIMIT) <= correction.factor(name) <= math.exp(LIMIT)
        low, median, high = correction.corrected(PREDICTED, name)
        assert 0 < low <= median <= high < math.inf
    assert 1.0 <= correction.width <= MAX_WIDTH


@pytest.mark.parametrize("actual", [0.0, -1.0, math.nan, math.inf])
def test_values_that_are_not_positive_and_finite_are_ignored(actual: float) -> None:
    correction = Correction("output length")
    correction.observe(PREDICTED, None, actual)
    assert correction.observed == 0


def test_intervals_that_are_too_narrow_are_widened_to_the_target_coverage_and_logged_once(
    vllm_log: pytest.LogCaptureFixture,
) -> None:
    draw = random.Random(1)
    correction = Correction("tool duration")
    for _ in range(3000):
        correction.observe((9.0, 10.0, 11.0), None, 10 * math.exp(draw.gauss(0, 0.25)))
    assert correction.width > ALARM_WIDTH
    assert 0.7 < correction.coverage < 0.9
    assert len([record for record in vllm_log.records if "tool duration" in record.message]) == 1


def test_intervals_of_the_right_width_stay() -> None:
    draw = random.Random(1)
    correction = Correction("output length")
    for _ in range(1000):
        correction.observe(PREDICTED, None, 10 * math.exp(draw.gauss(0, 0.3)))
    assert correction.width < 1.2
    assert correction.coverage > 0.85


def test_a_reset_forgets_all_observations() -> None:
    correction = Correction("output length")
    for _ in range(100):
        correction.observe(PREDICTED, "bash", 1000.0)
    correction.reset()
    assert correction.corrected(PREDICTED, "bash") == pytest.approx(PREDICTED)
    assert correction.observed == 0


def test_made_up_names_displace_no_tool_that_is_used_often_and_a_new_tool_is_learned() -> None:
    correction = Correction("output length")
    for _ in range(10):
        correction.observe(PREDICTED, "bash", 1000.0)
    for number in range(2 * MAX_NAMES):
        correction.observe(PREDICTED, f"tool-{number}", 10.0)
    assert correction.factor("bash") > 1.1 * correction.overall
    for _ in range(30):
        correction.observe(PREDICTED, "new", 30.0)
        correction.observe(PREDICTED, None, 10.0)
        correction.observe(PREDICTED, None, 10.0)
    assert correction.factor("new") > 1.2 * correction.overall


def test_an_observation_tells_its_ratio_to_the_corrected_median() -> None:
    correction = Correction("tool duration")
    for _ in range(50):
        correction.observe((5.0, 10.0, 20.0), None, 20.0)
    expected = correction.corrected((5.0, 10.0, 20.0), None)[1]
    assert correction.observe((5.0, 10.0, 20.0), None, 20.0) == 20.0 / expected
    assert correction.observe((5.0, 10.0, 20.0), None, 0.0) is None
