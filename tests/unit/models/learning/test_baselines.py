import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from augserve.models.learning.baselines import baselines, point_quantiles, tool_quantiles
from augserve.models.learning.evaluation import quantile_metrics
from augserve.models.learning.training_set import TrainingSet
from augserve.models.serving.target import OUTPUT_LENGTH, QUANTILE_TARGETS, SESSION_REMAINING, Target

MakeSet = Callable[..., TrainingSet]


@pytest.mark.parametrize("target", QUANTILE_TARGETS)
def test_baselines_predict_ordered_quantiles(make_set: MakeSet, target: Target) -> None:
    known, test = make_set(target), make_set(target, seed=1)
    for name, point in baselines(target).items():
        predicted = point_quantiles(point, known, test)
        assert predicted.shape == (len(test), 3), name
        assert np.isfinite(predicted).all(), name
        assert (predicted >= target.floor * 0.999).all(), name
        assert (np.diff(predicted, axis=1) >= 0).all(), name


def test_baseline_intervals_have_their_nominal_coverage(make_set: MakeSet) -> None:
    known, test = make_set(OUTPUT_LENGTH, count=2000), make_set(OUTPUT_LENGTH, count=2000, seed=1)
    predicted = point_quantiles(baselines(OUTPUT_LENGTH)["median"], known, test)
    coverage = quantile_metrics(predicted, np.maximum(test.values, 1))["coverage_80"]
    assert coverage == pytest.approx(0.8, abs=0.03)


def test_ridge_regression_learns_a_linear_feature(make_set: MakeSet) -> None:
    known, test = make_set(OUTPUT_LENGTH, count=1500), make_set(OUTPUT_LENGTH, count=500, seed=1)
    line, median = (point_quantiles(baselines(OUTPUT_LENGTH)[name], known, test) for name in ("linear", "median"))
    actual = np.maximum(test.values, 1)
    assert (quantile_metrics(line, actual)["mae"] or 0) < 0.8 * (quantile_metrics(median, actual)["mae"] or 0)


def test_median_of_an_unknown_source_uses_all_sources(make_set: MakeSet) -> None:
    sources = np.repeat(["a", "b"], 200)
    known = dataclasses.replace(make_set(OUTPUT_LENGTH), sources=sources, values=np.repeat([10.0, 1000.0], 200))
    test = dataclasses.replace(known, sources=np.repeat(["a", "new"], 200))
    medians = point_quantiles(baselines(OUTPUT_LENGTH)["median"], known, test)[:, 1]
    assert medians[0] == pytest.approx(10, rel=1e-4)
    assert medians[-1] == pytest.approx(100, rel=1e-4)


def test_turns_so_far_include_the_current_turn(make_set: MakeSet) -> None:
    data = make_set(SESSION_REMAINING)
    turn = [part.name for part in SESSION_REMAINING.features].index("turn")
    data.rows[:, turn] = 4
    assert point_quantiles(baselines(SESSION_REMAINING)["turns so far"], data, data)[0, 1] == pytest.approx(5)


def test_tool_quantiles_use_one_source(make_set: MakeSet) -> None:
    data = make_set(OUTPUT_LENGTH)
    sources, groups = np.repeat(["a", "b"], 200), np.tile(["sql", "python"], 200)
    values = np.where(groups == "sql", 10.0, 1000.0) * np.where(sources == "a", 1, 3)
    known = dataclasses.replace(data, sources=sources, groups=groups, values=values)
    test = dataclasses.replace(known, groups=np.where(np.arange(400) < 2, "new", groups))
    predicted = tool_quantiles(known, test)
    assert predicted[2].tolist() == [10, 10, 10]
    assert predicted[-1].tolist() == [3000, 3000, 3000]
    assert predicted[0].tolist() == [10, 505, 1000]  # an unseen tool: all tools of the source
    assert tool_quantiles(known, dataclasses.replace(known, values=known.values * 0)).min() >= OUTPUT_LENGTH.floor
