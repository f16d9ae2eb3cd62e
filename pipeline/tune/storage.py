"""The storage of a study: a database that several processes, or machines, may share."""

import logging
import time
import warnings
from typing import Any

import optuna
from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, IntegrityError, ProgrammingError

from ...data.one_line import one_line
from ..project.stage import StageError
from .params import TuneParams

HEARTBEAT_S = 20
"""A trial whose process is silent for three heartbeats is recorded as failed, and its values are tried again."""
RETRIES = 2
OPENING_TRIES = 4
BUSY_TIMEOUT_S = 120  # how long a process waits while another one writes to SQLite
STARTUP_TRIALS = 10  # drawn at random, the starts included


def quiet_libraries() -> None:
    """Log no line of Optuna for each trial, and none of Alembic for each table."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.WARNING)


def open_study(name: str, params: TuneParams, seed: int) -> optuna.Study:
    """Create or resume a study. Raises StageError for a storage that cannot be used."""
    try:
        url = make_url(params.storage)
    except ArgumentError as error:
        raise StageError(
            f"params.yaml: tune.storage is {params.storage!r}: it must be the URL of a database, like "
            "sqlite:///optuna.db or postgresql+psycopg://user@host/database; correct it there"
        ) from error
    try:
        return _create_patiently(name, params, seed, url)
    except Exception as error:  # each driver has exceptions of its own
        hidden = url.render_as_string(hide_password=True)
        raise StageError(
            f"{hidden}: cannot open the study ({one_line(error, 200)}); "
            "start or repair the database, or correct tune.storage"
        ) from error


def _create_patiently(name: str, params: TuneParams, seed: int, url: URL) -> optuna.Study:
    """Try again while another process creates the tables."""
    for attempt in range(1, OPENING_TRIES):
        try:
            return _create(name, params, seed, url)
        except DatabaseError as error:
            created = "already exists" in str(error)  # SQLite raises OperationalError for an unreachable file too
            if not (created or isinstance(error, (IntegrityError, ProgrammingError))):
                raise
            time.sleep(attempt)
    return _create(name, params, seed, url)


def _create(name: str, params: TuneParams, seed: int, url: URL) -> optuna.Study:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = optuna.storages.RDBStorage(
            params.storage,
            engine_kwargs=_engine(url.get_backend_name()),
            heartbeat_interval=HEARTBEAT_S,
            grace_period=3 * HEARTBEAT_S,
            heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=RETRIES),
        )
        if url.get_backend_name() == "sqlite":
            event.listen(storage.engine, "begin", _lock_at_once)
        return optuna.create_study(
            storage=storage,
            study_name=name,
            direction="maximize",
            load_if_exists=True,
            sampler=optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=STARTUP_TRIALS, constant_liar=params.processes > 1
            ),
            pruner=optuna.pruners.NopPruner(),  # a trial is short; the best ones run in whole afterwards
        )


def _engine(backend: str) -> dict[str, Any]:
    if backend == "sqlite":
        return {"connect_args": {"timeout": BUSY_TIMEOUT_S, "isolation_level": None}}
    if backend == "postgresql":
        return {"pool_pre_ping": True, "connect_args": {"connect_timeout": 10}}
    return {"pool_pre_ping": True}


def _lock_at_once(connection: Connection) -> None:
    """SQLite has no SELECT FOR UPDATE: without the lock two processes may take the same waiting trial."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")
