"""Cells in worker processes."""

import gc
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from ...server.lifetime import end_with_parent
from .cell import Cell, run_cell

Job = TypeVar("Job")
Found = TypeVar("Found")
GC_THRESHOLDS = (50_000, 20, 100)
"""Objects made beyond those let go until Python looks for cycles among the young; then how many such looks until the
middle-aged, and the old."""
Submit = Callable[[Cell], "Future[dict[str, float]]"]


@contextmanager
def workers(processes: int) -> Iterator[Submit]:
    """`pool` for the metrics of cells."""
    with pool(processes, run_cell) as submit:
        yield submit


@contextmanager
def pool(processes: int, run: Callable[[Job], Found]) -> Iterator[Callable[[Job], "Future[Found]"]]:
    """Give `submit(job) -> Future` over `processes` fresh processes; what is still queued at an exception is dropped.

    Fresh (spawned), not forked: vLLM and MLflow start threads. `run` is a module's function, so that they find it.
    """
    executor = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=_prepare)
    try:
        yield lambda job: executor.submit(run, job)
    finally:
        executor.shutdown(cancel_futures=True)


def _prepare() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the workers
    end_with_parent()
    gc.freeze()  # what vLLM's modules hold stays: a simulation makes objects so fast that looking through all of them
    gc.set_threshold(*GC_THRESHOLDS)  # again and again took a tenth of its time
