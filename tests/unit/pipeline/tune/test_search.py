"""A search over made-up simulations: order, pruning, failures, and resumption after kill -9."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import optuna
import pytest

from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.tune import storage as tune_storage
from augserve.pipeline.tune.select import finalists

PROGRAM = Path(__file__).with_name("searching.py")
State = optuna.trial.TrialState
pytestmark = pytest.mark.usefixtures("in_folder")


def test_the_hand_set_defaults_come_first_and_are_completed(searching, params):
    study = searching.search(params)
    first = study.trials[0]
    assert first.user_attrs["start"] == "defaults"
    assert SchedulerSettings.from_json(first.user_attrs["settings"]) == searching.SPACE.defaults
    assert first.state == State.COMPLETE
    assert first.value == pytest.approx(0.5)  # short simulations have half of the goodput of stock vLLM


def test_every_trial_runs_in_the_same_short_simulations(searching, params):
    runs = []

    def noting(scenario, settings, short):
        runs.append((scenario, short))
        return searching.simulate(scenario, settings, short)

    searching.search(params, noting)
    assert runs == [(scenario, True) for _ in range(6) for scenario in params.planned()[:2]]


def test_starts_that_are_equal_in_the_space_are_tried_once(searching, params):
    study = searching.search(params)
    assert [trial.user_attrs.get("start") for trial in study.trials].count("other") == 0


def test_the_search_improves_goodput(searching, params):
    study = searching.search(params.changed(trials=30))
    assert study.best_value > 0.8


def test_a_failed_trial_is_recorded_as_failed_and_the_study_goes_on(searching, params):
    runs = []

    def failing(scenario, settings, short):
        runs.append(scenario)
        if len(runs) == 3:  # in the second trial
            raise RuntimeError("the simulation failed")
        return searching.simulate(scenario, settings, short)

    study = searching.search(params, failing)
    assert [trial.state for trial in study.trials].count(State.FAIL) == 1
    assert len(study.trials) == params.trials


def test_a_study_in_which_every_trial_fails_is_an_error(searching, params):
    def failing(scenario, settings, short):
        raise RuntimeError("no")

    study = searching.search(params, failing)
    with pytest.raises(StageError, match="every trial failed"):
        finalists(study, 3)


def test_a_simulations_process_that_dies_ends_the_search_in_one_line(searching, params):
    def dying(scenario, settings, short):
        raise BrokenProcessPool("died")

    with pytest.raises(StageError, match=r"tune\.processes"):
        searching.search(params, dying)


def test_an_interrupted_study_runs_only_its_missing_trials(searching, params):
    searching.search(params.changed(trials=4))
    study = searching.search(params)
    assert len(study.trials) == params.trials == 6
    assert len(searching.search(params).trials) == 6


def test_trials_run_in_parallel(searching, params):
    study = searching.search(params.changed(processes=3, trials=9))
    assert len(study.trials) == 9
    assert len({trial.params["weights.uncached"] for trial in study.trials}) == 9  # each thread samples on its own


def test_after_kill_9_finished_trials_remain_and_the_interrupted_one_is_tried_again(searching, params, monkeypatch):
    monkeypatch.setattr(tune_storage, "HEARTBEAT_S", 1)
    tune_storage.open_study(searching.NAME, params, 7)  # so that it exists before the loop below looks at it
    process = subprocess.Popen([sys.executable, str(PROGRAM), params.storage, "50", "0.4"], stdin=subprocess.DEVNULL)
    try:
        finished = _wait_for_finished(params, process, least=3)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    study = tune_storage.open_study(searching.NAME, params, 7)
    kept = {trial.number: trial for trial in study.trials}
    cut_off = [number for number, trial in kept.items() if trial.state == State.RUNNING]
    assert finished <= {number for number, trial in kept.items() if trial.state.is_finished()}
    assert len(cut_off) == 1
    time.sleep(4.5)  # three heartbeats of silence, and one second because SQLite's clock counts whole seconds

    done = sum(trial.state.is_finished() for trial in kept.values())
    study = searching.search(params.changed(trials=done + 3))
    for number in finished:
        assert study.trials[number].values == kept[number].values
        assert study.trials[number].params == kept[number].params
    assert study.trials[cut_off[0]].state == State.FAIL
    again = [trial for trial in study.trials if cut_off[0] in trial.system_attrs.get("retry_history", [])]
    assert [trial.params for trial in again] == [kept[cut_off[0]].params]


def _wait_for_finished(params, process, least):
    """Numbers of the trials that have finished, while another process runs."""
    for _ in range(600):
        assert process.poll() is None
        time.sleep(0.1)
        trials = optuna.load_study(study_name="known", storage=params.storage).trials
        finished = {trial.number for trial in trials if trial.state.is_finished()}
        if len(finished) >= least and any(_has_a_heartbeat(trial) for trial in trials):
            return finished
    raise AssertionError("no trials")


def _has_a_heartbeat(trial):
    """A trial's first heartbeat is written while its first values are drawn; without one it is never retried."""
    return trial.state == State.RUNNING and time.time() - trial.datetime_start.timestamp() > 0.15
