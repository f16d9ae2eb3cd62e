"""MLflow runs: a store in the project's root (`mlflow.db`, `mlartifacts/`), no network, safe for several processes.

A run costs about 60 ms; the first ever creates the database in about 5 s, and importing MLflow takes about 2 s, so it
is imported with the first run. Experiments are `gather`, `predictors`, `tuning` and `evaluation`.
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
from typing import Any

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
BUSY_TIMEOUT_S = 120  # how long a process waits while another one writes
_BATCH = 100  # MLflow takes no more parameters in one call
_NO_TAGS: Mapping[str, str] = {}
_HOST, _PROCESS = "augserve.host", "augserve.process"  # tags: who keeps a run open
_SYSTEM_METRICS_S = 5  # between samples of processor, memory, disk and network


@dataclass(frozen=True, slots=True)
class Run:
    """An open MLflow run."""

    client: Any
    id: str

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log in one transaction. Names may hold letters, digits, `_-.:/` and blanks; NaN is kept as NaN."""
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
        """Name the data that the run was made from, as path → hash (36 characters at most): the column "Dataset"."""
        from mlflow.entities import Dataset, DatasetInput

        found = [Dataset(path, digest, "local", json.dumps({"uri": path})) for path, digest in sorted(hashes.items())]
        if found:
            self.client.log_inputs(self.id, [DatasetInput(dataset, []) for dataset in found])


@contextmanager
def experiment_run(
    experiment: str,
    run_name: str,
    params: Mapping[str, object],
    tags: Mapping[str, str] = _NO_TAGS,
    parent_id: str | None = None,
    system_metrics: bool = False,
) -> Iterator[Run]:
    """Open a run of `experiment`; it ends FINISHED, or FAILED where the body raises (KILLED on an interrupt).

    With the `parent_id` of another run of the experiment, whichever process opened that, MLflow shows it nested there.
    `system_metrics`: processor, memory, disk and network are logged every few seconds while the body runs. A run of
    the experiment whose process was killed on this machine is marked KILLED before a new one of its own opens.
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
            yield Run(client, run_id)
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        client.set_terminated(run_id, status)


def tracking_client() -> Any:
    """This process's MlflowClient on the store of the working folder."""
    return _client(Path.cwd(), os.getpid())


WRITTEN = ("reports", "dvc.lock", "README.md")
"""What the pipeline itself writes of what git tracks: of a clean checkout `dvc repro` makes changes there alone."""


@functools.cache
def git_revision() -> str:
    """The commit that the working folder is at, with `-dirty` where tracked files differ that the pipeline does not
    write itself (WRITTEN): code, parameters, pinned data. `unknown` without git, and before the first commit."""
    others = [f":(exclude){path}" for path in WRITTEN]
    commit = _git("rev-parse", "--verify", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *others)
    if commit is None or changed is None:
        return "unknown"
    return f"{commit}-dirty" if changed else commit


def _git(*arguments: str) -> str | None:
    """What it says, or None where it fails. It takes no lock that would stop a commit beside it."""
    command = ["git", "--no-optional-locks", *arguments]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()


@functools.lru_cache(maxsize=4)
def _client(root: Path, process: int) -> Any:  # noqa: ARG001 - a part of the cache's key
    """One client a process: a forked child must not use its parent's database connections."""
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
        found = client.get_experiment_by_name(name)
        if found is None:
            return str(client.create_experiment(name, artifact_location=(root / ARTIFACTS).as_uri()))
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)


@contextmanager
def _lock(root: Path) -> Iterator[None]:
    """Hold the store's lock file against other processes."""
    with (root / f"{DATABASE}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _end_orphans(client: Any, experiment_id: str) -> None:
    """Mark what a killed process left open."""
    open_here = f"attributes.status = 'RUNNING' and tags.`{_HOST}` = '{socket.gethostname()}'"
    for run in client.search_runs([experiment_id], open_here):
        if not Path(f"/proc/{run.data.tags.get(_PROCESS)}").exists():
            client.set_terminated(run.info.run_id, "KILLED")


def _log_params(client: Any, run_id: str, params: Mapping[str, object]) -> None:
    from mlflow.entities import Param

    batch = [Param(name, str(value)) for name, value in params.items()]
    for start in range(0, len(batch), _BATCH):
        client.log_batch(run_id, params=batch[start : start + _BATCH])
