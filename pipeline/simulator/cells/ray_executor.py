"""Jobs as tasks of Ray, behind the interface of an executor: `ray` is a Ray on this machine, `ray://…` a cluster.

A task runs in the caller's folder, which each machine of a cluster must have under the same path, with the same code.
Ray runs a task again whose worker died; the results of other tasks are here already.
"""

import os
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

from ....data.one_line import one_line
from ...project.code_digest import code_digest
from ...project.stage import StageError
from .garbage import thrifty_gc

LOCAL = "ray"
CLUSTER = "ray://"
RETRIES = 3
"""How often a task whose worker died runs again."""
_CODE = ("data", "features", "models/serving", "runtime", "pipeline")

Outcome = TypeVar("Outcome")


class RayExecutor(Executor):
    """One processor a job. Its `shutdown` ends the jobs that still run."""

    def __init__(self, address: str, processes: int) -> None:
        """`processes` bounds the jobs at once on this machine; a cluster runs as many as it has processors.

        Raises StageError where Ray is not installed, or no cluster answers at `address`.
        """
        self._ray = ray = _ray(address)
        quiet = {"log_to_driver": False, "logging_level": "warning", "configure_logging": False}
        try:
            if address == LOCAL:
                ray.init("local", num_cpus=processes, include_dashboard=False, **quiet)
            else:
                ray.init(address, **quiet)
        except Exception as error:  # Ray raises errors of many kinds
            cause = one_line(error, 200)
            raise StageError(
                f"{address}: no Ray answers ({cause}); start it with `ray start --head`, or leave out --on"
            ) from error
        task = ray.remote(num_cpus=1, max_retries=RETRIES)(_run)
        self._start = partial(task.remote, str(Path.cwd()), code_digest(*_CODE))

    def submit(self, function: Callable[..., Outcome], /, *args: Any, **kwargs: Any) -> "Future[Outcome]":
        future: Future[Outcome] = Future()
        future.set_running_or_notify_cancel()
        self._start(function, args, kwargs).future().add_done_callback(partial(self._settle, future))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        self._ray.shutdown()

    def _settle(self, future: "Future[Outcome]", ended: "Future[Outcome]") -> None:
        """Hand on the result; a job's own error as the job raised it, and a lost worker as BrokenExecutor."""
        error = ended.exception()
        if error is None:
            future.set_result(ended.result())
        elif isinstance(error, self._ray.exceptions.RayTaskError):
            future.set_exception(error.cause)
        else:
            future.set_exception(BrokenExecutor(one_line(error, 300)))


def _ray(address: str) -> Any:
    if address != LOCAL and not address.startswith(CLUSTER):
        raise StageError(f"--on {address}: neither {LOCAL!r} nor {CLUSTER}HOST:PORT; correct it")
    try:
        import ray
    except ModuleNotFoundError as error:
        raise StageError(f"--on {address}: Ray is not installed; `pip install augserve[scale]`") from error
    return ray


def _run(folder: str, digest: str, function: Callable[..., Outcome], args: Any, kwargs: Any) -> Outcome:
    """A job in a worker of Ray. Raises StageError for another machine that has other files than the caller's."""
    _prepare(folder, digest)
    return function(*args, **kwargs)


@cache
def _prepare(folder: str, digest: str) -> None:
    """Once a worker."""
    try:
        os.chdir(folder)
    except OSError as error:
        raise StageError(f"{os.uname().nodename}: no folder {folder}; share the project under this path") from error
    if code_digest(*_CODE) != digest:
        raise StageError(f"{os.uname().nodename}: another version of augserve; install this one and restart Ray there")
    thrifty_gc()
