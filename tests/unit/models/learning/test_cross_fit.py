import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import xgboost as xgb

from augserve.models.learning.calibration import MIN_LEAF_ROWS, calibrate
from augserve.models.learning.cross_fit import FOLDS, Learned, cross_fit, learn, session_folds
from augserve.models.learning.forest import FitSettings, labels, predict_margins
from augserve.models.learning.target_models import TargetModels, from_margins
from augserve.models.learning.training_set import TrainingError, TrainingSet
from augserve.models.serving.target import OUTPUT_LENGTH, QUANTILES, TARGETS, TOOL_DURATION

MakeSet = Callable[..., TrainingSet]


def moved(trees: tuple[xgb.Booster, ...], data: TrainingSet) -> np.ndarray:
    """Offsets of the calibration, shape (n, models)."""
    return np.concatenate([predict_margins(tree, data.rows) for tree in trees], axis=1)


def test_learning_twice_gives_the_same_models(
    learned: list[Learned], make_set: MakeSet, fit_settings: FitSettings
) -> None:
    again = learn([make_set(target) for target in TARGETS], fit_settings)
    for one, two in zip(learned, again, strict=True):
        pairs = zip(
            one.models.boosters + one.models.calibrations, two.models.boosters + two.models.calibrations, strict=True
        )
        assert all(a.save_raw() == b.save_raw() for a, b in pairs)


def test_folds_keep_sessions_whole_and_contain_every_source(make_set: MakeSet) -> None:
    data = dataclasses.replace(make_set(OUTPUT_LENGTH), sources=np.repeat(["a", "b"], 200))
    folds = session_folds(data)
    for session in np.unique(data.sessions):
        assert len(set(folds[data.sessions == session].tolist())) == 1
    for source in ("a", "b"):
        assert set(folds[data.sources == source].tolist()) == set(range(FOLDS))


def test_cross_fit_never_trains_on_the_predicted_session(make_set: MakeSet, fit_settings: FitSettings) -> None:
    """The value depends on the session alone, so other sessions cannot predict it."""
    data = make_set(OUTPUT_LENGTH)
    noise = np.random.default_rng(3).lognormal(0, 2, len(data) // 5).repeat(5)
    rows = np.arange(len(data) // 5, dtype=np.float32).repeat(5)[:, None] * np.ones((1, data.rows.shape[1]), np.float32)
    unpredictable = dataclasses.replace(data, values=noise + 1, rows=rows)
    margins = cross_fit(unpredictable, QUANTILES, fit_settings, 40)
    assert abs(np.corrcoef(margins[:, 1], labels(unpredictable))[0, 1]) < 0.3


def test_rows_outside_the_mask_are_predicted_but_not_fitted(make_set: MakeSet, fit_settings: FitSettings) -> None:
    data = make_set(OUTPUT_LENGTH)
    taken = np.random.default_rng(1).random(len(data)) < 0.7
    spoiled = dataclasses.replace(data, values=np.where(taken, data.values, 1e6))
    one, two = (cross_fit(rows, QUANTILES, fit_settings, 5, taken) for rows in (data, spoiled))
    np.testing.assert_array_equal(one, two)
    assert np.ptp(one[~taken, 1]) > 0.1


def test_intervals_cover_a_noisy_set(make_set: MakeSet, fit_settings: FitSettings) -> None:
    """The first feature separates the sets. One offset for both would over-cover one set and under-cover the other."""
    quiet = make_set(OUTPUT_LENGTH, count=2000, noise=0.1)
    loud = make_set(OUTPUT_LENGTH, count=2000, noise=1.5, seed=1)
    for data, mark in ((quiet, 0.0), (loud, 1.0)):
        data.rows[:, 1] = mark
        data.values[:] *= 1e4  # far from the floor
    held_out = dataclasses.replace(
        quiet,
        **{
            name: np.concatenate((getattr(quiet, name), getattr(loud, name)))
            for name in ("rows", "values", "sources", "sessions", "parts", "groups", "censored")
        },
    )
    learning = held_out.select(np.arange(4000) % 2 == 0)
    judged = held_out.select(np.arange(4000) % 2 == 1)
    plain = np.quantile(labels(learning), QUANTILES).astype(np.float32)
    trees = calibrate(learning, np.tile(plain, (len(learning), 1)), 0)
    predicted = from_margins(OUTPUT_LENGTH, plain + moved(trees, judged))
    actual = np.maximum(judged.values, OUTPUT_LENGTH.floor)
    inside = (predicted[:, 0] * 0.999 <= actual) & (actual <= predicted[:, 2] * 1.001)
    for mark in (0.0, 1.0):
        assert inside[judged.rows[:, 1] == mark].mean() == pytest.approx(0.8, abs=0.05)


def test_intervals_cover_a_small_set(make_set: MakeSet) -> None:
    """The small set has one row in twenty and slightly larger errors; both sets have the same weight."""
    large, small = make_set(OUTPUT_LENGTH, count=6000, noise=0.5), make_set(OUTPUT_LENGTH, count=300, noise=1.0, seed=1)
    for data, mark in ((large, 0.0), (small, 1.0)):
        data.rows[:, 1] = mark
        data.values[:] *= 1e4
    held_out = dataclasses.replace(
        large,
        **{name: np.concatenate((getattr(large, name), getattr(small, name))) for name in ("rows", "values")},
        **{name: np.concatenate((getattr(large, name), getattr(small, name))) for name in ("sessions", "parts")},
        **{name: np.concatenate((getattr(large, name), getattr(small, name))) for name in ("groups", "censored")},
        sources=np.repeat(["large", "small"], [6000, 300]),
    )
    margins = np.full((len(held_out), 3), np.quantile(labels(held_out), 0.9), np.float32)
    high = margins[:, 2] + moved(calibrate(held_out, margins, 0), held_out)[:, 2]
    below = labels(held_out) <= high
    assert below[:6000].mean() == pytest.approx(0.9, abs=0.03)
    assert below[6000:].mean() == pytest.approx(0.9, abs=0.03)


def test_median_has_no_offset(make_set: MakeSet) -> None:
    data = make_set(OUTPUT_LENGTH, count=2000)
    offsets = moved(calibrate(data, np.zeros((len(data), 3), np.float32), 0), data)
    assert not offsets[:, 1].any()
    assert offsets[:, [0, 2]].any()


def test_too_few_rows_share_one_offset(make_set: MakeSet) -> None:
    data = make_set(TOOL_DURATION, count=MIN_LEAF_ROWS)
    offsets = moved(calibrate(data, np.zeros((len(data), 3), np.float32), 0), data)[:, 2]
    assert np.ptp(offsets) == 0
    assert offsets[0] == pytest.approx(np.quantile(labels(data), 0.9), rel=0.05)


def test_a_constant_target_is_learned(make_set: MakeSet, fit_settings: FitSettings) -> None:
    data = make_set(TOOL_DURATION)
    constant = dataclasses.replace(data, values=np.full(len(data), 2.5))
    (one,) = learn([constant], fit_settings)
    np.testing.assert_allclose(one.models.predict(data.rows), 2.5, rtol=1e-4)


def test_a_single_session_is_refused(make_set: MakeSet, fit_settings: FitSettings) -> None:
    data = make_set(OUTPUT_LENGTH)
    alone = data.select(data.sessions == data.sessions[0])
    with pytest.raises(TrainingError, match="gather more"):
        learn([alone], fit_settings)


def test_test_part_does_not_change_the_model(make_set: MakeSet, fit_settings: FitSettings) -> None:
    data = make_set(OUTPUT_LENGTH)
    spoiled = dataclasses.replace(data, values=np.where(data.parts == "test", 1e6, data.values))
    models: list[TargetModels] = [learn([one], fit_settings)[0].models for one in (data, spoiled)]
    np.testing.assert_array_equal(*(one.predict(data.rows) for one in models))
