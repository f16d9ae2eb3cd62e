"""Tuning with the simulations replaced: an objective that is known, a trial that fails, a study that is resumed."""

import dataclasses
import json

import optuna
import pytest

from augserve.models.settings import SchedulerSettings
from augserve.pipeline import tune
from augserve.pipeline.params import ParamsError
from augserve.pipeline.simulator.search import starting_points, suggest, trial_settings
from augserve.pipeline.stage import StageError

PARAMS = tune.TuneParams(
    profile="p",
    trials=4,
    loads=(1.0, 2.0),
    capacity_low=1.0,
    capacity_high=9.0,
    capacity_rounds=2,
    warmup_s=0.0,
    window_s=10.0,
    drain_s=0.0,
    processes=1,
)


class KnownTuning(tune.Tuning):
    """Goodput is the weight of `uncached`, halved at load 2; stock's is 2."""

    def __init__(self, fails=()):
        self.params = PARAMS
        self.defaults = SchedulerSettings()
        self.runs = 0
        self._fails = fails

    def start(self, cells):
        if cells[0][0] == "vllm":
            return lambda: [{"effective_throughput": 2.0} for _ in cells]
        self.runs += 1
        number = self.runs
        weight = cells[0][2].weights.uncached

        def results():
            if number in self._fails:
                raise RuntimeError("the worker died")
            return [{"effective_throughput": weight / (i + 1), "longest_wait_s": 3.0} for i, _ in enumerate(cells)]

        return results


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One for all tests: MLflow takes seconds to make its database."""
    return tmp_path_factory.mktemp("tune")


@pytest.fixture(autouse=True)
def in_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture
def study(tmp_path):
    return tune.open_study("study", 1, f"sqlite:///{tmp_path}/optuna.db")


def test_the_hand_set_defaults_come_first(study):
    tuning = KnownTuning()
    tune.run_trials(study, tuning, 10.0)
    assert SchedulerSettings.from_json(study.trials[0].user_attrs["settings"]) == SchedulerSettings()
    assert study.trials[0].value == pytest.approx((1.0 / 2 + 0.5 / 2) / 2)


def test_the_best_trial_is_written(study, folder):
    tune.run_trials(study, KnownTuning(), 10.0)
    tune.write_results(study, 10.0, PARAMS)
    best = max(study.trials, key=lambda trial: trial.value)
    written = json.loads((folder / "models/tuned/scheduler.json").read_text())
    assert SchedulerSettings.from_json(written).weights.uncached == pytest.approx(best.params["weights.uncached"])
    assert json.loads((folder / "models/tuned/capacity.json").read_text())["sessions_per_s"] == 10.0
    assert len((folder / "reports/tune/trials.csv").read_text().splitlines()) == 5


def test_a_failed_trial_is_recorded_and_the_study_goes_on(study, folder):
    tune.run_trials(study, KnownTuning(fails={2}), 10.0)
    tune.write_results(study, 10.0, PARAMS)
    found = json.loads((folder / "reports/tune/metrics.json").read_text())
    assert (found["trials"], found["failed"]) == (3, 1)


def test_a_study_in_which_every_trial_fails_is_an_error(study):
    tune.run_trials(study, KnownTuning(fails=range(99)), 10.0)
    with pytest.raises(StageError, match="every trial failed"):
        tune.write_results(study, 10.0, PARAMS)


def test_an_interrupted_study_runs_only_what_it_lacks(study, tmp_path):
    tuning = KnownTuning()
    tune.run_trials(study, tuning, 10.0)
    again = tune.open_study("study", 1, f"sqlite:///{tmp_path}/optuna.db")
    tune.run_trials(again, tuning, 10.0)
    assert tuning.runs == PARAMS.trials


def test_a_study_of_other_inputs_has_another_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models/onnx").mkdir(parents=True)
    (tmp_path / "data/profiles").mkdir(parents=True)
    (tmp_path / "data/profiles/p.json").write_text("{}")
    for name in tune.model_files():
        (tmp_path / "models/onnx" / name).write_text("one")
    name = tune.study_name(PARAMS, 1)
    assert name == tune.study_name(dataclasses.replace(PARAMS, trials=99), 1)
    assert name != tune.study_name(PARAMS, 2)
    assert name != tune.study_name(dataclasses.replace(PARAMS, loads=(3.0,)), 1)
    (tmp_path / "models/onnx" / tune.model_files()[0]).write_text("two")
    assert name != tune.study_name(PARAMS, 1)


def test_missing_models_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StageError, match=r"\.onnx.*dvc repro"):
        tune.study_name(PARAMS, 1)


def test_an_unreachable_database_is_named(tmp_path):
    with pytest.raises(StageError, match="cannot open the study"):
        tune.open_study("study", 1, f"sqlite:///{tmp_path}/no/such/folder/optuna.db")


@pytest.mark.parametrize("point", starting_points(SchedulerSettings()))
def test_starting_points_lie_in_the_search_space(point):
    settings = trial_settings(SchedulerSettings(), suggest(optuna.trial.FixedTrial(point)))
    for field in dataclasses.fields(settings.weights):
        assert getattr(settings.weights, field.name) == point.get(f"weights.{field.name}", 0.0)
    assert settings.retention.max_share == point.get("retention.max_share", 0.0)


@pytest.mark.parametrize(
    "change", [{"trials": 0}, {"loads": (-1.0,)}, {"capacity_low": 20.0}, {"window_s": 0.0}, {"processes": 0}]
)
def test_a_parameter_out_of_range_is_named(change):
    with pytest.raises(ParamsError, match=f"tune.{next(iter(change))}"):
        dataclasses.replace(PARAMS, **change)
