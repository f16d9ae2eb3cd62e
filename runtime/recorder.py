"""Writes traces: rows go into a bounded queue, a thread of its own makes Parquet files of them."""

import atexit
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..data.atomic import atomic_file
from ..data.schema import TABLES

logger = logging.getLogger(__name__)

Row = Mapping[str, object]

MAX_QUEUED = 100_000
FILE_ROWS = 20_000
AGE_S = 2.0
TICK_S = 0.5


class Recorder:
    """Rows of the three tables of a trace, as files `<table>-<run>-<n>.parquet` in one folder.

    vLLM kills its engine process at once when the server stops (unless it runs with --shutdown-timeout), so nothing may
    wait for the end: a table's newest file is written anew with what has come in since, AGE_S after the oldest new row
    or on the first quiet tick, until it has FILE_ROWS rows. A killed process loses at most its last AGE_S + TICK_S.

    `add` never blocks and never raises: rows that find the queue full, or that cannot be written, are counted through
    `dropped`.
    """

    def __init__(
        self,
        folder: Path,
        dropped: Callable[[int], None],
        max_queued: int = MAX_QUEUED,
        file_rows: int = FILE_ROWS,
        age_s: float = AGE_S,
    ) -> None:
        self._dropped = dropped
        self._max_queued = max_queued
        self._age_s = age_s
        run = f"{int(time.time())}-{os.getpid()}"  # no run overwrites another's files
        self._queue: deque[tuple[str, Row]] = deque()
        self._files = {table: _TableFiles(folder, table, run, file_rows) for table in TABLES}
        self._warned = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="augserve-recorder", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def add(self, table: str, row: Row) -> None:
        """Take a row of `table` (a key of data.schema.TABLES), with that schema's columns; a missing one is null."""
        if len(self._queue) >= self._max_queued or self._stop.is_set():
            self._dropped(1)
        else:
            self._queue.append((table, row))

    def close(self, timeout_s: float = 10.0) -> None:
        """Write what is left and end the thread. May be called again."""
        atexit.unregister(self.close)
        self._stop.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        oldest_s = time.monotonic()
        waiting = False
        while not self._stop.wait(TICK_S):
            came = self._collect()
            now_s = time.monotonic()
            if came and not waiting:
                oldest_s, waiting = now_s, True
            if waiting and (not came or now_s - oldest_s >= self._age_s):
                self._flush()
                waiting = False
        self._collect()
        self._flush()

    def _collect(self) -> int:
        count = len(self._queue)
        for _ in range(count):
            table, row = self._queue.popleft()
            self._files[table].rows.append(row)
        return count

    def _flush(self) -> None:
        for files in self._files.values():
            lost = len(files.rows)
            try:
                files.flush()
            except Exception as error:  # noqa: BLE001 — traces never stop the engine
                files.rows.clear()
                self._dropped(lost)
                if not self._warned:
                    self._warned = True
                    logger.warning(
                        "augserve: cannot write traces to %s (%r); rows are dropped and counted", files.folder, error
                    )


class _TableFiles:
    """The files of one table; the newest one grows by being replaced."""

    def __init__(self, folder: Path, table: str, run: str, file_rows: int) -> None:
        self.folder = folder
        self.rows: list[Row] = []  # not written yet
        self._table = table
        self._run = run
        self._file_rows = file_rows
        self._number = 0
        self._newest: list[pa.Table] = []

    def flush(self) -> None:
        if not self.rows:
            return
        added = pa.Table.from_pylist(self.rows, schema=TABLES[self._table])
        newest = pa.concat_tables([*self._newest, added])
        with atomic_file(self.folder / f"{self._table}-{self._run}-{self._number:06d}.parquet") as temporary:
            pq.write_table(newest, temporary)
        self.rows = []
        self._newest = [newest]
        if newest.num_rows >= self._file_rows:
            self._newest = []
            self._number += 1
