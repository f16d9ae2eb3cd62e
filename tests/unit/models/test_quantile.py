import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from augserve.models.quantile import FitSettings, QuantileModels, fit_quantile, importance, load_models
from augserve.models.target import OUTPUT_LENGTH, QUANTILES, TOOL_DURATION
from augserve.models.training_set import TrainingError, TrainingSet

MakeSet = Callable[..., TrainingSet]


def test_the_same_data_and_seed_give_the_same_model(make_set: MakeSet, fit_settings: FitSettings) -> None:
    data = make_set(OUTPUT_LENGTH)
    one, two = (fit_quantile(data.part("train"), data.part("validation"), 0.5, fit_settings) for _ in range(2))
    assert one.save_raw() == two.save_raw()


def test_predictions_learn_never_cross_and_keep_the_floor(trained: list[QuantileModels], make_set: MakeSet) -> None:
    for models in trained:
        test = make_set(models.target).part("test")
        predicted = models.predict(test.rows)
        assert predicted.shape == (len(test), len(QUANTILES))
        assert (np.diff(predicted, axis=1) >= 0).all()
        assert (predicted >= models.target.floor).all()
        assert np.corrcoef(predicted[:, 1], test.values)[0, 1] > 0.4


def test_the_intercept_added_last_changes_no_prediction(trained: list[QuantileModels], make_set: MakeSet) -> None:
    import xgboost as xgb

    rows = make_set(OUTPUT_LENGTH).rows
    models = trained[0]
    plain = np.stack([booster.predict(xgb.DMatrix(rows)) for booster in models.boosters], axis=1)
    np.testing.assert_allclose(models.predict(rows), np.sort(np.maximum(np.exp(plain), 1), axis=1), rtol=1e-4)


def test_a_constant_target_gives_a_constant_model(make_set: MakeSet, fit_settings: FitSettings) -> None:
    data = make_set(TOOL_DURATION)
    constant = dataclasses.replace(data, values=np.full(len(data), 0.25))
    train, validation = constant.part("train"), constant.part("validation")
    models = QuantileModels(TOOL_DURATION, tuple(fit_quantile(train, validation, q, fit_settings) for q in QUANTILES))
    np.testing.assert_allclose(models.predict(data.rows), 0.25, rtol=1e-5)
    assert set(importance(models).values()) == {0.0}


def test_importance_is_a_share_by_name(trained: list[QuantileModels]) -> None:
    shares = importance(trained[0])
    assert list(shares) == [part.name for part in OUTPUT_LENGTH.features]
    assert np.isclose(sum(shares.values()), 1)
    assert max(shares, key=lambda name: shares[name]) == OUTPUT_LENGTH.features[0].name


def test_models_come_back_as_they_were_saved(trained: list[QuantileModels], tmp_path: Path, make_set: MakeSet) -> None:
    trained[0].save(tmp_path)
    rows = make_set(OUTPUT_LENGTH).rows
    np.testing.assert_array_equal(load_models(tmp_path, OUTPUT_LENGTH).predict(rows), trained[0].predict(rows))


def test_a_missing_damaged_or_foreign_model_is_refused(trained: list[QuantileModels], tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"output_length_p10\.ubj: no such file"):
        load_models(tmp_path, OUTPUT_LENGTH)
    trained[0].save(tmp_path)
    (tmp_path / "output_length_p50.ubj").write_bytes(b"no model")
    with pytest.raises(TrainingError, match=r"output_length_p50\.ubj: not an XGBoost model"):
        load_models(tmp_path, OUTPUT_LENGTH)
    (tmp_path / "output_length_p10.ubj").rename(tmp_path / "tool_duration_p10.ubj")
    with pytest.raises(TrainingError, match="features, not"):
        load_models(tmp_path, TOOL_DURATION)
