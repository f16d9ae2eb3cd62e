"""Cells in worker processes, or on Ray."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from ...project.lifetime import end_with_parent
from .cell import Cell
from .garbage import thrifty_gc
from .ray_executor import RayExecutor

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")
Submit = Callable[[Cell], "Future[dict[str, float]]"]


@contextmanager
def pool(
    processes: int, run: Callable[[Job], Outcome], on: str | None = None
) -> Iterator[Callable[[Job], "Future[Outcome]"]]:
    """`submit(job) -> Future` over `processes` processes, or on the Ray at `on`; an exception cancels the queued jobs.

    `run` must be a function of a module. Raises StageError for a Ray that cannot be used.
    """
    executor = _processes(processes) if on is None else RayExecutor(on, processes)
    try:
        yield lambda job: executor.submit(run, job)
    finally:
        executor.shutdown(cancel_futures=True)


def _processes(count: int) -> Executor:
    """Spawned processes: vLLM and MLflow start threads, so none may be forked."""
    executor = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=_prepare)
    for _ in range(count):  # a worker ends with the thread that starts it, which must not be one of the caller's
        executor.submit(_start)
    return executor


def _start() -> None:
    """A first job for each worker."""


def _prepare() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent terminates the workers
    end_with_parent()
    thrifty_gc()
