from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from augserve.models.learning.target_models import TargetModels, importance, load_models
from augserve.models.learning.training_set import TrainingError, TrainingSet
from augserve.models.serving.target import OUTPUT_LENGTH, QUANTILES, TOOL_DURATION

MakeSet = Callable[..., TrainingSet]


def test_predictions_correlate_never_cross_and_respect_the_floor(
    trained: list[TargetModels], make_set: MakeSet
) -> None:
    for models in trained:
        test = make_set(models.target).part("test")
        predicted = models.predict(test.rows)
        if models.target.kind == "probability":
            assert ((predicted > 0) & (predicted < 1)).all()
            assert predicted[test.values == 1].mean() > predicted[test.values == 0].mean() + 0.1
            continue
        assert predicted.shape == (len(test), len(QUANTILES))
        assert (np.diff(predicted, axis=1) >= 0).all()
        assert (predicted >= models.target.floor).all()
        assert np.corrcoef(predicted[:, 1], test.values)[0, 1] > 0.4


def test_importance_sums_to_one(trained: list[TargetModels]) -> None:
    shares = importance(trained[0])
    assert list(shares) == [part.name for part in OUTPUT_LENGTH.features]
    assert np.isclose(sum(shares.values()), 1)
    assert max(shares, key=lambda name: shares[name]) == OUTPUT_LENGTH.features[0].name


def test_models_round_trip(trained: list[TargetModels], tmp_path: Path, make_set: MakeSet) -> None:
    trained[0].save(tmp_path)
    rows = make_set(OUTPUT_LENGTH).rows
    np.testing.assert_array_equal(load_models(tmp_path, OUTPUT_LENGTH).predict(rows), trained[0].predict(rows))


def test_offsets_are_nested_rules(trained: list[TargetModels]) -> None:
    offsets = trained[0].offsets()
    assert list(offsets) == list(OUTPUT_LENGTH.model_names)
    (rules,) = offsets["output_length_p10"]
    names = " ".join(part.name for part in OUTPUT_LENGTH.features)
    assert isinstance(rules, float) or all(rule.split()[0] in ("else", *names.split()) for rule in rules)


def test_missing_damaged_or_foreign_model_is_refused(trained: list[TargetModels], tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"output_length\.ubj: no such file"):
        load_models(tmp_path, OUTPUT_LENGTH)
    trained[0].save(tmp_path)
    (tmp_path / "output_length.ubj").rename(tmp_path / "tool_duration.ubj")
    (tmp_path / "output_length.ubj").write_bytes(b"no model")
    with pytest.raises(TrainingError, match=r"output_length\.ubj: not an XGBoost model"):
        load_models(tmp_path, OUTPUT_LENGTH)
    with pytest.raises(TrainingError, match="features, not"):
        load_models(tmp_path, TOOL_DURATION)
