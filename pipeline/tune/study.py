"""The study: its storage, which several processes or machines may share, and the trials that it still lacks."""

import logging
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from typing import Any

import optuna
from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, IntegrityError, ProgrammingError
from tqdm import tqdm

from ...models.serving.settings import SchedulerSettings
from ..project.stage import StageError
from ..project.tracking import experiment_run
from ..results.tuning import DEFAULTS
from .bench import Bench, Capacities
from .params import TuneParams
from .score import Job, Tally, Yardstick, jobs_of
from .space import Space

HEARTBEAT_S = 20
"""A trial whose process has been silent for three of these is taken for dead: it is recorded as failed and its values
are tried again."""
RETRIES = 2
OPENING_TRIES = 4
BUSY_TIMEOUT_S = 120  # how long a process waits while another one writes to SQLite
STARTUP_TRIALS = 4  # drawn at random, the starts counted: a default study has time for some eight trials
FINISHED = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED, optuna.trial.TrialState.FAIL)
Simulate = Callable[[Job, SchedulerSettings, bool], dict[str, float]]
"""Metrics of a job under some settings; short or whole."""

logger = logging.getLogger(__name__)


def open_study(name: str, params: TuneParams, seed: int) -> optuna.Study:
    """Create or resume the study of a name. Raises StageError in one line for a storage that cannot be used."""
    try:
        url = make_url(params.storage)
    except ArgumentError as error:
        raise StageError(
            f"params.yaml: tune.storage is {params.storage!r}: it must be a database's URL, like sqlite:///optuna.db "
            "or postgresql+psycopg://user@host/database; correct it there"
        ) from error
    try:
        return _create_patiently(name, params, seed, url)
    except Exception as error:  # each driver has exceptions of its own
        cause = " ".join(str(error).split())[:200]
        hidden = url.render_as_string(hide_password=True)
        raise StageError(
            f"{hidden}: cannot open the study ({cause}); start or mend the database, or correct tune.storage"
        ) from error


def _create_patiently(name: str, params: TuneParams, seed: int, url: URL) -> optuna.Study:
    """Try again where another process is making the tables at this moment."""
    for attempt in range(1, OPENING_TRIES):
        try:
            return _create(name, params, seed, url)
        except DatabaseError as error:
            made = "already exists" in str(error)  # SQLite's OperationalError, which is of an unreachable one too
            if not (made or isinstance(error, (IntegrityError, ProgrammingError))):
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
            pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=params.reduction),
        )


def _engine(backend: str) -> dict[str, Any]:
    if backend == "sqlite":
        return {"connect_args": {"timeout": BUSY_TIMEOUT_S, "isolation_level": None}}
    if backend == "postgresql":
        return {"pool_pre_ping": True, "connect_args": {"connect_timeout": 10}}
    return {"pool_pre_ping": True}


def _lock_at_once(connection: Connection) -> None:
    """SQLite has no SELECT FOR UPDATE: without this, two processes may read that a trial waits, and both run it."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def enqueue(study: optuna.Study, space: Space, starts: Sequence[tuple[str, SchedulerSettings]]) -> None:
    """Put the settings to start from, by name, before all else; once a study."""
    if study.get_trials(deepcopy=False):
        return
    points: list[dict[str, Any]] = []
    for name, settings in starts:
        point = space.point(settings)
        if point not in points:
            study.enqueue_trial(point, user_attrs={"start": name})
            points.append(point)


class Search:
    """Runs trials of a study: short simulations first, then whole ones, each a chance to stop a loser."""

    def __init__(
        self, params: TuneParams, space: Space, yardstick: Yardstick, simulate: Simulate, parent_id: str
    ) -> None:
        self._params = params
        self._space = space
        self._yardstick = yardstick
        self._simulate = simulate
        self._parent_id = parent_id
        self._broken = False

    def run(self, study: optuna.Study) -> None:
        """Run the trials that the study still lacks, `processes` at once, until its time is over.

        A trial that fails is recorded as failed, and the study goes on. Raises StageError where a simulation's process
        died: then every trial after it would fail.
        """
        params = self._params
        finished = len(study.get_trials(deepcopy=False, states=FINISHED))
        enough = optuna.study.MaxTrialsCallback(params.trials, states=FINISHED)  # other processes run some too
        with tqdm(total=params.trials, initial=min(finished, params.trials), desc="tune", unit="trial") as bar:  # type: tqdm[Any]
            if finished < params.trials:
                study.optimize(
                    self._objective,
                    n_trials=params.trials - finished,
                    timeout=params.timeout_s,
                    n_jobs=params.processes,
                    catch=(Exception,),
                    callbacks=[enough, _counting(bar)],
                )
        if self._broken:
            raise StageError(
                "tune: a simulation's process died; lower tune.processes if memory is short, and run again: every "
                "finished trial is kept"
            )

    def _objective(self, trial: optuna.Trial) -> float:
        tags = {"kind": "trial", "study": trial.study.study_name, "start": trial.user_attrs.get("start", "")}
        try:
            values = self._space.suggest(trial)
            settings = self._space.settings(values)
            trial.set_user_attr("settings", settings.to_json())
            with experiment_run("tuning", f"trial-{trial.number}", values, tags, self._parent_id) as run:
                tally = Tally(self._yardstick)
                pruned = self._measure(trial, settings, tally)
                _record(trial, tally)
                run.log_metrics(tally.flat() | ({"score": tally.score} if tally.ratios else {}))
        except Exception as error:
            logger.warning("tune: trial %d failed: %r", trial.number, error)
            if isinstance(error, BrokenExecutor):
                self._broken = True
                trial.study.stop()
            raise
        if pruned:
            raise optuna.TrialPruned
        return tally.score

    def _measure(self, trial: optuna.Trial, settings: SchedulerSettings, tally: Tally) -> bool:
        """Fill the tally; gives whether the trial was stopped before the last simulation."""
        jobs = jobs_of(self._params)
        first = self._yardstick.ratio(jobs[0], self._simulate(jobs[0], settings, True))
        trial.report(first, 1)
        for step, job in enumerate(jobs, start=2):
            if self._stops(trial):
                return True
            tally.add(job, self._simulate(job, settings, False))
            trial.report(tally.standing, step)
        return False

    def _stops(self, trial: optuna.Trial) -> bool:
        prune = trial.should_prune()  # asked of the defaults too: it is how their values enter the comparison
        return prune and trial.user_attrs.get("start") != DEFAULTS  # which all others are held against


def _counting(bar: "tqdm[Any]") -> Callable[[optuna.Study, optuna.trial.FrozenTrial], None]:
    def count(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:  # noqa: ARG001
        bar.update()

    return count


def simulate_on(bench: Bench, units: Capacities) -> Simulate:
    return lambda job, settings, short: bench.start(job, units, settings, short=short).result()


def _record(trial: optuna.Trial, tally: Tally) -> None:
    if not tally.found:
        return
    for name, value in tally.violations.items():
        trial.set_constraint(name, value)
    trial.set_user_attr("ratios", {job.name: ratio for job, ratio in tally.ratios.items()})
    trial.set_user_attr("longest_wait_s", tally.longest_wait_s)
