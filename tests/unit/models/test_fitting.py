import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import xgboost as xgb

from augserve.models.fitting import FitSettings, best_rounds, fit, predict_margins
from augserve.models.target import (
    ENDS_IN_TOOL,
    OUTPUT_LENGTH,
    QUANTILES,
    SESSION_REMAINING,
    TOOL_DURATION,
    Target,
)
from augserve.models.training_set import TrainingSet

MakeSet = Callable[..., TrainingSet]


def test_the_same_data_and_seed_give_the_same_model(make_set: MakeSet, fit_settings: FitSettings) -> None:
    data = make_set(OUTPUT_LENGTH)
    one, two = (fit(data.part("train"), QUANTILES, fit_settings, 8) for _ in range(2))
    assert one.save_raw() == two.save_raw()


def test_more_trees_than_serve_the_validation_part_are_not_kept(make_set: MakeSet, fit_settings: FitSettings) -> None:
    data = make_set(OUTPUT_LENGTH, noise=3.0)
    rounds = best_rounds(data.part("train"), data.part("validation"), QUANTILES, fit_settings)
    assert 1 <= rounds < fit_settings.max_rounds


@pytest.mark.parametrize("target", [OUTPUT_LENGTH, SESSION_REMAINING, ENDS_IN_TOOL])
def test_the_intercept_added_last_changes_no_prediction(
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


def test_a_probability_that_never_varies_stays_finite(make_set: MakeSet, fit_settings: FitSettings) -> None:
    data = make_set(ENDS_IN_TOOL)
    constant = dataclasses.replace(data, values=np.ones(len(data)))
    margins = predict_margins(fit(constant, (0.5,), fit_settings, 20), data.rows)
    assert np.isfinite(margins).all()
    assert (margins > 2).all()
