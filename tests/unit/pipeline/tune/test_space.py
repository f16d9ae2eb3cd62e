"""The declared search space: what it refuses, and that what it suggests is what a scheduler can be built from."""

from pathlib import Path

import optuna
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from augserve.models.serving.settings import SchedulerSettings, SettingsError
from augserve.pipeline.project.params import ParamsError
from augserve.pipeline.tune.space import read_space, with_values

DEFAULTS = SchedulerSettings()
DECLARED = yaml.safe_load((Path(__file__).parents[4] / "params.yaml").read_text())["tune"]
SMALL = {
    "weights.uncached": {"low": 0.1, "high": 10.0, "log": True},
    "weights.output": {"low": 0.01, "high": 1.0, "log": True, "zero": True},
    "budget.slack_share": {"choices": [0.25, 0.5]},
    "residency.share": {"low": 0.1, "high": 0.8, "zero": True},
    "residency.keep": {"low": 0.5, "high": 5.0, "log": True, "when": "residency.share"},
}


def suggested(point):
    return read_space(SMALL, DEFAULTS).suggest(optuna.trial.FixedTrial(point))


OFF = {
    "weights.uncached": 1.0,
    "use.weights.output": False,
    "budget.slack_share": 0.25,
    "use.residency.share": False,
}


def test_a_parameter_that_is_off_is_zero_and_its_dependents_are_not_searched():
    values = suggested(OFF)
    assert values == {"weights.uncached": 1.0, "weights.output": 0, "budget.slack_share": 0.25, "residency.share": 0}


def test_a_dependent_parameter_is_searched_where_its_switch_is_on():
    on = OFF | {"use.residency.share": True, "residency.share": 0.5, "residency.keep": 2.0}
    settings = read_space(SMALL, DEFAULTS).settings(suggested(on))
    assert (settings.residency.share, settings.residency.keep) == (0.5, 2.0)


def test_other_settings_keep_their_defaults():
    settings = read_space(SMALL, DEFAULTS).settings({"weights.uncached": 3.0})
    assert settings == with_values(DEFAULTS, {"weights.uncached": 3.0})
    assert settings.weights.remaining == DEFAULTS.weights.remaining


@given(seed=st.integers(0, 2**32 - 1))
def test_every_suggestion_of_the_projects_space_is_valid_and_comes_back_from_its_own_point(seed):
    space = read_space(DECLARED["space"], DEFAULTS)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    settings = space.settings(space.suggest(study.ask()))
    again = space.settings(space.suggest(optuna.trial.FixedTrial(space.point(settings))))
    assert again == settings


def test_the_hand_set_defaults_are_a_point_of_the_space():
    space = read_space(DECLARED["space"], DEFAULTS)
    assert space.settings(space.suggest(optuna.trial.FixedTrial(space.point(DEFAULTS)))) == DEFAULTS


def test_a_start_outside_of_the_space_is_moved_to_its_edge():
    space = read_space(SMALL, DEFAULTS)
    point = space.point(with_values(DEFAULTS, {"weights.uncached": 1000.0, "budget.slack_share": 0.4}))
    assert (point["weights.uncached"], point["budget.slack_share"]) == (10.0, 0.5)


@pytest.mark.parametrize(
    ("declared", "named"),
    [
        ({"weights.uncached": {"low": 2, "high": 1}}, "weights.uncached.*low"),
        ({"weights.unknown": {"low": 1, "high": 2}}, "weights.unknown.*known are .*budget.correction"),
        ({"slo.ttft_s": {"low": 1, "high": 2}}, "slo.ttft_s"),
        ({"weights": {"low": 1, "high": 2}}, "tune.space.weights"),
        ({"weights.uncached": {"low": 1, "hihg": 2}}, "weights.uncached.*hihg"),
        ({"weights.uncached": {"low": 1}}, "weights.uncached.*high"),
        ({"weights.uncached": {"low": "1e-3", "high": 2}}, "weights.uncached.*low"),
        ({"weights.uncached": [1, 2]}, "weights.uncached"),
        ({"weights.uncached": {"low": 0, "high": 2, "log": True}}, "weights.uncached.*low"),
        ({"weights.uncached": {"low": -1, "high": 2}}, "weights.uncached.*-1.0"),
        ({"budget.correction": {"low": 1, "high": 99}}, "budget.correction.*99.0"),
        ({"residency.longest_wait_s": {"low": 1, "high": 2, "zero": True}}, "residency.longest_wait_s.*0"),
        ({"residency.keep": {"choices": []}}, "residency.keep.*choices"),
        ({"weights.output": {"low": 1, "high": 2, "when": "weights.slack"}}, "weights.output.*when"),
        ({"weights.output": {"low": 1, "high": 2, "log": "yes"}}, "weights.output.*log"),
        ({}, "tune.space"),
    ],
)
def test_an_invalid_space_is_one_line_that_names_the_parameter(declared, named):
    with pytest.raises(ParamsError, match=named) as caught:
        read_space(declared, DEFAULTS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "values", [{"weights.none": 1.0}, {"profile": "x"}, {"weights": 1.0}, {"budget.correction": "much"}]
)
def test_a_start_with_an_unknown_or_invalid_setting_is_an_error(values):
    with pytest.raises(SettingsError):
        with_values(DEFAULTS, values)
