import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from augserve.models.learning.evaluation import (
    calibration_curve,
    coverage_interval,
    evaluate,
    group_quantile,
    pinball_loss,
)
from augserve.models.learning.training_set import TrainingSet
from augserve.models.serving.target import ENDS_IN_TOOL, OUTPUT_LENGTH, TOOL_DURATION

MakeSet = Callable[..., TrainingSet]


def test_pinball_loss_weights_errors_by_the_quantile() -> None:
    assert pinball_loss(np.array([10.0]), np.array([8.0]), 0.9) == pytest.approx(1.8)
    assert pinball_loss(np.array([8.0]), np.array([10.0]), 0.9) == pytest.approx(0.2)


def test_a_perfect_prediction_has_perfect_metrics(make_set: MakeSet) -> None:
    data = make_set(OUTPUT_LENGTH)
    test = data.part("test")
    test = dataclasses.replace(test, values=np.maximum(test.values, 1).astype(np.float32).astype(np.float64))
    predicted = np.stack([test.values] * 3, axis=1).astype(np.float32)
    metrics = evaluate(predicted, test, data.part("train"))
    assert metrics["kendall_tau"] == pytest.approx(1)
    assert (metrics["mae"], metrics["pinball_p90"], metrics["coverage_80"]) == (0, 0, 1)
    assert metrics["mae_baseline"] is not None
    assert metrics["mae_baseline"] > 0


def test_a_constant_target_has_no_rank_correlation(make_set: MakeSet) -> None:
    data = make_set(OUTPUT_LENGTH)
    data = dataclasses.replace(data, values=np.full(len(data), 5.0))
    test = data.part("test")
    metrics = evaluate(np.full((len(test), 3), 5, np.float32), test, data.part("train"))
    assert metrics["kendall_tau"] is None
    assert metrics["mae"] == metrics["mae_baseline"] == 0


@pytest.mark.filterwarnings("error")
def test_single_value_has_no_rank_correlation_and_no_warning(make_set: MakeSet) -> None:
    data = make_set(OUTPUT_LENGTH)
    test = data.select(np.arange(len(data)) == 0)
    assert evaluate(np.full((1, 3), 5, np.float32), test, data)["kendall_tau"] is None


def test_a_value_below_the_floor_counts_as_the_floor(make_set: MakeSet) -> None:
    data = make_set(TOOL_DURATION)
    test = dataclasses.replace(data, values=np.full(len(data), 1e-9))
    metrics = evaluate(np.full((len(test), 3), TOOL_DURATION.floor, np.float32), test, data)
    assert metrics["coverage_80"] == pytest.approx(1)


def test_baseline_of_an_unseen_group_uses_all_groups(make_set: MakeSet) -> None:
    data = make_set(OUTPUT_LENGTH, count=15)
    values = np.arange(15.0)
    groups = np.array(["a"] * 5 + ["b"] * 10)
    train = dataclasses.replace(data, values=values, groups=groups)
    test = dataclasses.replace(data, groups=np.array(["a", "b", "new"] * 5))
    assert group_quantile(train, test, 0.5)[:3].tolist() == [2.0, 9.5, 7.0]


def test_calibration_counts_values_at_or_below_the_quantile() -> None:
    predicted = np.array([[1, 2, 3], [1, 2, 3]], np.float32)
    assert calibration_curve(predicted, np.array([2.0, 4.0])) == {0.1: 0.0, 0.5: 0.5, 0.9: 0.5}


def test_censored_values_are_excluded(make_set: MakeSet) -> None:
    data = make_set(OUTPUT_LENGTH)
    predicted = np.maximum(np.stack([data.values] * 3, axis=1), 1).astype(np.float32)
    cut = dataclasses.replace(data, values=np.where(np.arange(400) < 9, 1e9, data.values), censored=np.arange(400) < 9)
    metrics = evaluate(predicted, cut, data)
    assert metrics["rows"] == 391
    assert metrics["coverage_80"] == 1
    assert evaluate(predicted, dataclasses.replace(data, censored=np.ones(400, np.bool_)), data) == {"rows": 0}


def test_probability_has_brier_score_and_auc(make_set: MakeSet) -> None:
    data = make_set(ENDS_IN_TOOL)
    sure = evaluate(np.where(data.values == 1, 0.9, 0.1).astype(np.float32), data, data)
    assert sure["brier"] == pytest.approx(0.01)
    assert (sure["auc"], sure["brier_baseline"]) == (1, pytest.approx(0.25, abs=0.01))
    assert sure["calibration_error"] == pytest.approx(0.1)
    blind = evaluate(np.full(400, 0.5, np.float32), data, data)
    assert (blind["auc"], blind["kendall_tau"]) == (0.5, None)


def test_coverage_interval_resamples_sessions() -> None:
    """400 rows with a coverage of 80 %: misses spread over the sessions, or in whole sessions."""
    sessions = np.arange(400) // 20
    spread, lumped = np.arange(400) % 5 > 0, sessions % 5 > 0
    for held, width in ((spread, 0.0), (lumped, 0.3)):
        low, high = coverage_interval(held, sessions.astype(np.str_))
        assert low is not None
        assert high is not None
        assert low <= 0.8 <= high
        assert high - low == pytest.approx(width, abs=0.06)
    as_if_rows_were_alone = coverage_interval(lumped, np.arange(400).astype(np.str_))
    assert as_if_rows_were_alone[1] - as_if_rows_were_alone[0] < 0.1


def test_single_session_has_no_interval() -> None:
    assert coverage_interval(np.array([True, False]), np.array(["a", "a"])) == (None, None)
