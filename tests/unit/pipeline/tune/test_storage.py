"""The storage of a study: opened by several processes at once, unreachable, shared by workers."""

import contextlib
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest
import sqlalchemy

from augserve.pipeline.project.stage import StageError
from augserve.pipeline.tune import storage as tune_storage

pytestmark = pytest.mark.usefixtures("in_folder")


@pytest.mark.parametrize(
    ("message", "tries"), [("table trials already exists", 2), ("unable to open database file", 1)]
)
def test_opening_is_tried_again_while_another_process_creates_the_tables(
    searching, params, monkeypatch, message, tries
):
    create, calls = optuna.create_study, []

    def fail_once(**options):
        calls.append(options)
        if len(calls) == 1:
            raise sqlalchemy.exc.OperationalError("CREATE TABLE trials", {}, sqlite3.OperationalError(message))
        return create(**options)

    monkeypatch.setattr(optuna, "create_study", fail_once)
    with contextlib.nullcontext() if tries == 2 else pytest.raises(StageError, match="unable to open"):
        assert tune_storage.open_study(searching.NAME, params, 7).trials == []
    assert len(calls) == tries


def test_a_waiting_trial_is_taken_by_one_worker(params):
    study = tune_storage.open_study("known", params, 7)
    for value in range(40):
        study.enqueue_trial({"x": value})
    with ThreadPoolExecutor(8) as workers:
        taken = list(workers.map(lambda _: study.ask().number, range(40)))
    assert sorted(taken) == list(range(40))


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("sqlite:////no/such/folder/optuna.db", "sqlite:////no/such/folder/optuna.db"),
        ("postgresql+psycopg://me:secret@127.0.0.1:9/none", r"me:\*\*\*@127.0.0.1:9/none"),
        ("nodatabase://host/x", "nodatabase"),
        ("just a file", "tune.storage is 'just a file'"),
    ],
)
def test_a_database_that_cannot_be_reached_is_one_line_without_its_password(params, storage, message):
    with pytest.raises(StageError, match=message) as caught:
        tune_storage.open_study("known", params.changed(storage=storage), 7)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
