"""MLflow runs in a local store (`mlflow.db`, `mlartifacts/`) that several processes may write at once.

A run costs about 60 ms. Creating the database takes about 5 s, importing MLflow about 2 s, which
the first run does. Experiments are `gather`, `predictors`, `tuning` and `evaluation`.
"""

import fcntl
import functools
import json
import logging
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
BUSY_TIMEOUT_S = 120  # wait for another process that writes
_BATCH = 100  # MLflow's limit of parameters per call; of metrics it takes ten times as many
_HOST, _PROCESS = "augserve.host", "augserve.process"  # tags: the owner of an open run
_SYSTEM_METRICS_S = 5  # between samples of processor, memory, disk and network


@dataclass(frozen=True, slots=True)
class ExperimentRun:
    """An open run of an MLflow experiment."""

    client: Any
    id: str

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log metrics, in batches. Names consist of letters, digits, `_-.:/` and blanks; NaN stays NaN."""
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        batch = [Metric(name, float(value), now_ms, step) for name, value in metrics.items()]
        for start in range(0, len(batch), 10 * _BATCH):
            self.client.log_batch(self.id, metrics=batch[start : start + 10 * _BATCH])

    def log_file(self, path: Path) -> None:
        self.client.log_artifact(self.id, str(path))

    def log_folder(self, folder: Path, name: str) -> None:
        """Copy a folder's files into the run's artifacts, under `name`."""
        self.client.log_artifacts(self.id, str(folder), name)

    def log_inputs(self, hashes: Mapping[str, str]) -> None:
        """Record the run's input data, path → hash of at most 36 characters, in MLflow's column "Dataset"."""
        from mlflow.entities import Dataset, DatasetInput

        datasets = [
            Dataset(path, digest, "local", json.dumps({"uri": path})) for path, digest in sorted(hashes.items())
        ]
        if datasets:
            self.client.log_inputs(self.id, [DatasetInput(dataset, []) for dataset in datasets])


@contextmanager
def experiment_run(
    experiment: str,
    run_name: str,
    params: Mapping[str, object],
    tags: Mapping[str, str] = MappingProxyType({}),
    parent_id: str | None = None,
    system_metrics: bool = False,
) -> Iterator[ExperimentRun]:
    """Open a run of `experiment`; it ends FINISHED, FAILED if the body raises, or KILLED on an interrupt.

    `parent_id`: an open run of the experiment, of any process, under which MLflow shows this one. `system_metrics`: log
    processor, memory, disk and network every few seconds. A run without parent first marks runs of this machine KILLED
    whose process no longer exists.
    """
    client = tracking_client()
    experiment_id = _experiment_id(experiment, Path.cwd(), os.getpid())
    own = {"mlflow.source.git.commit": git_revision(), "mlflow.source.type": "LOCAL"}
    own |= {_HOST: socket.gethostname(), _PROCESS: str(os.getpid())}
    if parent_id is not None:
        own["mlflow.parentRunId"] = parent_id
    else:
        _end_orphans(client, experiment_id)
    run_id = client.create_run(experiment_id, tags=own | dict(tags), run_name=run_name).info.run_id
    status = "KILLED"
    try:
        _log_params(client, run_id, params)
        with _system_metrics(run_id) if system_metrics else nullcontext():
            yield ExperimentRun(client, run_id)
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        client.set_terminated(run_id, status)


def tracking_client() -> Any:
    """This process's MlflowClient for the store of the working folder."""
    return _client(Path.cwd(), os.getpid())


WRITTEN = ("reports", "dvc.lock", "README.md")
"""Tracked files that the pipeline itself writes."""


@functools.cache
def git_revision() -> str:
    """The commit of the working folder, with `-dirty` if tracked files other than WRITTEN differ from it.

    `unknown` without git and before the first commit.
    """
    others = [f":(exclude){path}" for path in WRITTEN]
    commit = _git("rev-parse", "--verify", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *others)
    if commit is None or changed is None:
        return "unknown"
    return f"{commit}-dirty" if changed else commit


def _git(*arguments: str) -> str | None:
    """Git's output, or None if it fails. Takes no lock that would block a concurrent commit."""
    command = ["git", "--no-optional-locks", *arguments]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return ended.stdout.strip()


@functools.lru_cache(maxsize=4)
def _client(root: Path, process: int) -> Any:  # noqa: ARG001 - a part of the cache's key
    """One client per process: a forked child must not use its parent's database connections."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from mlflow.tracking import MlflowClient

    store = _store_uri(root)
    with _lock(root):  # the first client creates the tables
        client = MlflowClient(tracking_uri=store, registry_uri=store)
        client.search_experiments(max_results=1)
    return client


def _store_uri(root: Path) -> str:
    return f"sqlite:///{root / DATABASE}?timeout={BUSY_TIMEOUT_S}"


@contextmanager
def _system_metrics(run_id: str) -> Iterator[None]:
    from mlflow.system_metrics import system_metrics_monitor as untyped

    logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)
    monitor_class: Any = untyped.SystemMetricsMonitor
    monitor = monitor_class(run_id, _SYSTEM_METRICS_S, tracking_uri=_store_uri(Path.cwd()))
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()


@functools.lru_cache(maxsize=64)
def _experiment_id(name: str, root: Path, process: int) -> str:
    client = _client(root, process)
    with _lock(root):
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            return str(client.create_experiment(name, artifact_location=(root / ARTIFACTS).as_uri()))
        if experiment.lifecycle_stage == "deleted":
            client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)


@contextmanager
def _lock(root: Path) -> Iterator[None]:
    """Lock the store against other processes."""
    with (root / f"{DATABASE}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _end_orphans(client: Any, experiment_id: str) -> None:
    """Mark the open runs of killed processes."""
    open_here = f"attributes.status = 'RUNNING' and tags.`{_HOST}` = '{socket.gethostname()}'"
    for run in client.search_runs([experiment_id], open_here):
        if not Path(f"/proc/{run.data.tags.get(_PROCESS)}").exists():
            client.set_terminated(run.info.run_id, "KILLED")


def _log_params(client: Any, run_id: str, params: Mapping[str, object]) -> None:
    from mlflow.entities import Param

    batch = [Param(name, str(value)) for name, value in params.items()]
    for start in range(0, len(batch), _BATCH):
        client.log_batch(run_id, params=batch[start : start + _BATCH])
