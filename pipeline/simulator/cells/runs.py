"""Runs of cells by the hundred: side by side, with one progress bar, their results kept."""

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Lock

from tqdm import tqdm

from ..record.evidence import Evidence
from .cache import Submit, cached
from .cell import Cell
from .evidence import run_evidence
from .parallel import pool
from .store import CellStore
from .workers import Workers


@contextmanager
def kept_runs(processes: int, workers: Workers, description: str) -> Iterator[Submit]:
    """Runs where `workers` says; a result that is kept there is not computed again.

    Raises StageError for a Ray or a store that cannot be used.
    """
    store = CellStore(workers.cells)
    with pool(processes, run_evidence, workers.on) as run, counted(cached(run, store), description) as submit:
        yield submit


@contextmanager
def counted(submit: Submit, description: str) -> Iterator[Submit]:
    """`submit` with one progress bar, whose total grows with each submission."""
    lock = Lock()  # callbacks run in several threads
    with tqdm(desc=description, unit="run") as bar:

        def done(_: "Future[Evidence]") -> None:
            with lock:
                bar.update()

        def submit_counted(cell: Cell) -> "Future[Evidence]":
            with lock:
                bar.total = (bar.total or 0) + 1
            future = submit(cell)
            future.add_done_callback(done)
            return future

        yield submit_counted
