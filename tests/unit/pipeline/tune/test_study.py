"""A study over simulations that are known: its order, its losers, its failures, what is left after kill -9."""

import contextlib
import dataclasses
import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import optuna
import pytest
import sqlalchemy

from augserve.models.serving.settings import SchedulerSettings
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.tune import study as tune_study
from augserve.pipeline.tune.select import candidates

PROGRAM = Path(__file__).with_name("searching.py")
State = optuna.trial.TrialState
pytestmark = pytest.mark.usefixtures("in_folder")


@pytest.fixture
def params(searching, tmp_path):
    return dataclasses.replace(searching.PARAMS, storage=f"sqlite:///{tmp_path}/optuna.db")


def test_the_hand_set_defaults_come_first_and_run_whole(searching, params):
    study = searching.search(params)
    first = study.trials[0]
    assert first.user_attrs["start"] == "defaults"
    assert SchedulerSettings.from_json(first.user_attrs["settings"]) == SchedulerSettings()
    assert (first.state, list(first.intermediate_values)) == (State.COMPLETE, [1, 2, 3])
    assert first.value == pytest.approx(1.0)  # 50 in time, as stock vLLM


def test_a_start_that_loses_is_stopped_but_never_the_hand_set_defaults(searching, params):
    def losing(job, settings, short):
        found = searching.known(job, settings, short)
        good = settings.weights.uncached == 0.5
        return found | {"effective_throughput": 90.0 if good else 1.0 + settings.weights.output}

    bad = dataclasses.replace(searching.SPACE.defaults.weights, uncached=9.0)
    good = dataclasses.replace(bad, uncached=0.5)
    named = {"good": good, "defaults": searching.SPACE.defaults.weights, "bad": bad}
    starts = [(name, dataclasses.replace(searching.SPACE.defaults, weights=of)) for name, of in named.items()]
    study = searching.search(dataclasses.replace(params, trials=3), losing, starts)
    states = {trial.user_attrs["start"]: trial.state for trial in study.trials}
    assert states == {"good": State.COMPLETE, "defaults": State.COMPLETE, "bad": State.PRUNED}


def test_starts_that_the_space_cannot_tell_apart_are_tried_once(searching, params):
    study = searching.search(params)
    assert [trial.user_attrs.get("start") for trial in study.trials].count("other") == 0


def test_the_search_finds_what_serves_more_and_stops_losers(searching, params):
    study = searching.search(dataclasses.replace(params, trials=30))
    assert study.best_value > 1.5
    pruned = [trial for trial in study.trials if trial.state == State.PRUNED]
    assert len(pruned) >= 8
    whole = [trial.intermediate_values[1] for trial in study.trials if trial.state == State.COMPLETE]
    assert sum(trial.intermediate_values[1] for trial in pruned) / len(pruned) < sum(whole) / len(whole)
    assert max(len(trial.intermediate_values) for trial in pruned) < 3


def test_a_broken_constraint_is_optunas_own_and_costs_the_trial_its_place(searching, params):
    def starving(job, settings, short):
        found = searching.known(job, settings, short)
        return found | {"longest_wait_s": 40.0 if settings.weights.uncached < 0.5 else 1.0}

    study = searching.search(dataclasses.replace(params, trials=20), starving)
    assert study.best_trial.params["weights.uncached"] >= 0.5
    broken = [t for t in study.trials if t.params.get("weights.uncached", 1) < 0.5 and t.constraints]
    assert all(trial.constraints["longest_wait"] == pytest.approx(7.0) for trial in broken)
    assert candidates(study, 1)[0].feasible


def test_a_constraint_missed_by_a_hair_leaves_the_last_word_to_the_sessions_judged_on(searching, params):
    def wait_s(settings):
        return {0.5: 5.05, 0.25: 40.0}.get(settings.weights.uncached, 1.0)

    def waiting(job, settings, short):
        return searching.known(job, settings, short) | {"longest_wait_s": wait_s(settings)}

    def weighing(uncached):
        weights = dataclasses.replace(searching.SPACE.defaults.weights, uncached=uncached)
        return dataclasses.replace(searching.SPACE.defaults, weights=weights)

    starts = [("defaults", searching.SPACE.defaults), ("hair", weighing(0.5)), ("mile", weighing(0.25))]
    study = searching.search(dataclasses.replace(params, trials=3), waiting, starts)
    found = candidates(study, 1)
    assert [(one.name, one.feasible) for one in found] == [("hair", False), ("defaults", True)]
    assert found[0].standing == pytest.approx(found[0].tuned - 0.01)


@pytest.mark.parametrize(
    ("message", "tries"), [("table trials already exists", 2), ("unable to open database file", 1)]
)
def test_a_study_whose_tables_another_process_is_making_is_opened_again(searching, params, monkeypatch, message, tries):
    create, asked = tune_study._create, []

    def first_time_in_vain(*args):
        asked.append(args)
        if len(asked) == 1:
            raise sqlalchemy.exc.OperationalError("CREATE TABLE trials", {}, sqlite3.OperationalError(message))
        return create(*args)

    monkeypatch.setattr(tune_study, "_create", first_time_in_vain)
    with contextlib.nullcontext() if tries == 2 else pytest.raises(StageError, match="unable to open"):
        assert tune_study.open_study(searching.NAME, params, 7).trials == []
    assert len(asked) == tries


def test_a_failed_trial_is_recorded_as_failed_and_the_study_goes_on(searching, params):
    runs = []

    def failing(job, settings, short):
        runs.append(job)
        if len(runs) == 5:  # in the second trial
            raise RuntimeError("the simulation failed")
        return searching.known(job, settings, short)

    study = searching.search(params, failing)
    assert [trial.state for trial in study.trials].count(State.FAIL) == 1
    assert len(study.trials) == params.trials


def test_a_study_in_which_every_trial_fails_is_an_error(searching, params):
    def failing(job, settings, short):
        raise RuntimeError("no")

    study = searching.search(params, failing)
    with pytest.raises(StageError, match="every trial failed"):
        candidates(study, 3)


def test_a_simulations_process_that_dies_ends_the_search_in_one_line(searching, params):
    def dying(job, settings, short):
        raise BrokenProcessPool("died")

    with pytest.raises(StageError, match="a simulation's process died"):
        searching.search(params, dying)


def test_an_interrupted_study_runs_only_what_it_lacks(searching, params):
    searching.search(dataclasses.replace(params, trials=4))
    study = searching.search(params)
    assert len(study.trials) == params.trials == 6
    assert len(searching.search(params).trials) == 6


def test_trials_run_at_once(searching, params):
    study = searching.search(dataclasses.replace(params, processes=3, trials=9))
    assert len(study.trials) == 9
    assert len({trial.params["weights.uncached"] for trial in study.trials}) == 9  # each thread samples on its own


def test_a_waiting_trial_is_taken_by_one_worker_only(params):
    study = tune_study.open_study("known", params, 7)
    for value in range(40):
        study.enqueue_trial({"x": value})
    with ThreadPoolExecutor(8) as workers:
        taken = list(workers.map(lambda _: study.ask().number, range(40)))
    assert sorted(taken) == list(range(40))


def test_after_kill_9_no_finished_trial_is_lost_and_the_interrupted_one_is_tried_again(searching, params, monkeypatch):
    monkeypatch.setattr(tune_study, "HEARTBEAT_S", 1)
    tune_study.open_study(searching.NAME, params, 7)  # else it would be made while it is looked at below
    process = subprocess.Popen([sys.executable, str(PROGRAM), params.storage, "50", "0.4"], stdin=subprocess.DEVNULL)
    try:
        finished = _wait_for_finished(params, process, least=3)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    study = tune_study.open_study(searching.NAME, params, 7)
    kept = {trial.number: trial for trial in study.trials}
    cut_off = [number for number, trial in kept.items() if trial.state == State.RUNNING]
    assert finished <= {number for number, trial in kept.items() if trial.state.is_finished()}
    assert len(cut_off) == 1
    time.sleep(3.5)  # until its silence is noticed

    done = sum(trial.state.is_finished() for trial in kept.values())
    study = searching.search(dataclasses.replace(params, trials=done + 3))
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
        running = any(trial.state == State.RUNNING and trial.params for trial in trials)
        if len(finished) >= least and running:
            return finished
    raise AssertionError("no trials")


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("sqlite:////no/such/folder/optuna.db", "sqlite:////no/such/folder/optuna.db: cannot open the study"),
        ("postgresql+psycopg://me:secret@127.0.0.1:9/none", r"me:\*\*\*@127.0.0.1:9/none: cannot open the study"),
        ("nodatabase://host/x", "cannot open the study"),
        ("just a file", "tune.storage is 'just a file': it must be a database's URL"),
    ],
)
def test_a_database_that_cannot_be_reached_is_one_line_without_its_password(params, storage, message):
    with pytest.raises(StageError, match=message) as caught:
        tune_study.open_study("known", dataclasses.replace(params, storage=storage), 7)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
