import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import xgboost as xgb

from augserve.models.learning.forest import FitSettings, best_rounds, fit, predict_margins
from augserve.models.learning.onnx_trees import _trees
from augserve.models.learning.training_set import TrainingSet
from augserve.models.serving.target import (
    ENDS_IN_TOOL,
    OUTPUT_LENGTH,
    QUANTILES,
    SESSION_REMAINING,
    TOOL_DURATION,
    Target,
)

MakeSet = Callable[..., TrainingSet]


def test_the_same_data_and_seed_give_the_same_model(make_set: MakeSet, fit_settings: FitSettings) -> None:
    data = make_set(OUTPUT_LENGTH)
    one, two = (fit(data.part("train"), QUANTILES, fit_settings, 8) for _ in range(2))
    assert one.save_raw() == two.save_raw()


def test_early_stopping_limits_the_trees(make_set: MakeSet, fit_settings: FitSettings) -> None:
    data = make_set(OUTPUT_LENGTH, noise=3.0)
    rounds = best_rounds(data.part("train"), data.part("validation"), QUANTILES, fit_settings)
    assert 1 <= rounds < fit_settings.max_rounds


def test_only_shared_trees_are_deeper(make_set: MakeSet, fit_settings: FitSettings) -> None:
    settings = dataclasses.replace(fit_settings, max_depth=2, max_depth_shared_trees=4)
    for target, deepest in ((OUTPUT_LENGTH, 4), (SESSION_REMAINING, 2), (ENDS_IN_TOOL, 2)):
        forest = fit(make_set(target), target.forests[0], settings, 4)
        assert max(_depth(tree["left_children"], tree["right_children"], 0) for tree in _trees(forest)) == deepest


def test_probability_has_its_own_settings(make_set: MakeSet, fit_settings: FitSettings) -> None:
    own = dataclasses.replace(fit_settings, max_rounds_probability=3, learning_rate_probability=0.4)
    assert [own.rounds_of(target) for target in (OUTPUT_LENGTH, SESSION_REMAINING, ENDS_IN_TOOL)] == [40, 40, 3]
    slow = dataclasses.replace(own, learning_rate_probability=0.1, subsample=1.0, colsample_bytree=1.0)
    fast = dataclasses.replace(slow, learning_rate_probability=0.4)
    for target, factor in ((ENDS_IN_TOOL, 4.0), (SESSION_REMAINING, 1.0)):
        first, second = (_first_leaves(fit(make_set(target), (0.5,), settings, 1)) for settings in (slow, fast))
        np.testing.assert_allclose(np.array(second), np.array(first) * factor, rtol=1e-4)


def test_leaves_of_probability_and_quantile_have_similar_row_counts(
    make_set: MakeSet, fit_settings: FitSettings
) -> None:
    data = make_set(ENDS_IN_TOOL)
    settings = dataclasses.replace(fit_settings, min_child_weight=len(data) / 5)  # the Hessian of a row is at most 1/4
    assert len(_first_leaves(fit(data, (0.5,), settings, 1))) > 1


def _first_leaves(forest: xgb.Booster) -> list[float]:
    tree = next(iter(_trees(forest)))
    pairs = zip(tree["left_children"], tree["split_conditions"], strict=True)
    return [value for left, value in pairs if left == -1]


def _depth(left: list[int], right: list[int], node: int) -> int:
    return 0 if left[node] == -1 else 1 + max(_depth(left, right, left[node]), _depth(left, right, right[node]))


@pytest.mark.parametrize("target", [OUTPUT_LENGTH, SESSION_REMAINING, ENDS_IN_TOOL])
def test_adding_the_intercept_last_changes_no_prediction(
    make_set: MakeSet, fit_settings: FitSettings, target: Target
) -> None:
    data = make_set(target)
    for quantiles in target.forests:
        booster = fit(data, quantiles, fit_settings, 10)
        plain = booster.predict(xgb.DMatrix(data.rows), output_margin=True).reshape(len(data), -1)
        np.testing.assert_allclose(predict_margins(booster, data.rows), plain, rtol=1e-4, atol=1e-5)


def test_a_constant_target_gives_a_constant_model(make_set: MakeSet, fit_settings: FitSettings) -> None:
    data = make_set(TOOL_DURATION)
    constant = dataclasses.replace(data, values=np.full(len(data), 0.25))
    for quantiles in (QUANTILES, *((quantile,) for quantile in QUANTILES)):
        margins = predict_margins(fit(constant, quantiles, fit_settings, 5), data.rows)
        assert margins.shape == (len(data), len(quantiles))
        np.testing.assert_allclose(margins, np.log(0.25), rtol=1e-5)


def test_constant_probability_is_finite(make_set: MakeSet, fit_settings: FitSettings) -> None:
    data = make_set(ENDS_IN_TOOL)
    constant = dataclasses.replace(data, values=np.ones(len(data)))
    margins = predict_margins(fit(constant, (0.5,), fit_settings, 20), data.rows)
    assert np.isfinite(margins).all()
    assert (margins > 2).all()
