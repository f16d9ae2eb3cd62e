"""Cells in worker processes."""

import gc
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from ...project.lifetime import end_with_parent
from .cell import Cell

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")
GC_THRESHOLDS = (50_000, 20, 100)
"""Thresholds of Python's garbage collector, by generation."""
Submit = Callable[[Cell], "Future[dict[str, float]]"]


@contextmanager
def pool(processes: int, run: Callable[[Job], Outcome]) -> Iterator[Callable[[Job], "Future[Outcome]"]]:
    """`submit(job) -> Future` over `processes` spawned processes; an exception cancels the queued jobs.

    Processes are not forked, because vLLM and MLflow start threads. `run` must be a function of a module.
    """
    executor = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=_prepare)
    for _ in range(processes):  # a worker ends with the thread that starts it, which must not be one of the caller's
        executor.submit(_start)
    try:
        yield lambda job: executor.submit(run, job)
    finally:
        executor.shutdown(cancel_futures=True)


def _start() -> None:
    """A first job for each worker."""


def _prepare() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent terminates the workers
    end_with_parent()
    gc.freeze()  # vLLM's modules stay. A simulation allocates so fast that collecting
    gc.set_threshold(*GC_THRESHOLDS)  # all generations took a tenth of its time
