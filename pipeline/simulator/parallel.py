"""Cells in worker processes."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager

from ..lifetime import end_with_parent
from .cell import Cell, run_cell

Submit = Callable[[Cell], "Future[dict[str, float]]"]


@contextmanager
def workers(processes: int) -> Iterator[Submit]:
    """Give `submit(cell) -> Future` over `processes` fresh processes; what is still queued at an exception is dropped.

    Fresh (spawned), not forked: vLLM and MLflow start threads.
    """
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=_prepare)
    try:
        yield lambda cell: pool.submit(run_cell, cell)
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the workers
    end_with_parent()
