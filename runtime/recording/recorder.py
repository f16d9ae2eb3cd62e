"""Writes traces: rows go into a bounded queue, a thread of its own makes Parquet files of them."""

import atexit
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ...data.tables.files import TableName
from .disk_quota import remove_oldest, run_name
from .files import TableFiles, convert
from .lost_rows import Losses, Outage

logger = logging.getLogger(__name__)

Row = dict[str, object]

ROW_BYTES = 2048
"""What a queued row takes in memory, text aside: about a turn's."""
CHUNK_BYTES = 256 << 10
"""So much is converted at once: some 0.3 ms with the interpreter's lock held, for which the engine may wait."""
BREATH_S = 0.0002


@dataclass(frozen=True, slots=True)
class Limits:
    """What a recorder takes: disk, memory, time."""

    total_bytes: int = 10_000_000_000  # of all files in the folder, the oldest go first
    file_bytes: int = 4 << 20  # of a file's rows in memory, before the next file begins
    file_age_s: float = 3600.0
    queued_bytes: int = 64 << 20
    wait_s: float = 2.0  # of a row for the disk
    tick_s: float = 0.5


class Recorder:
    """Rows of the three tables of a trace, as files `<table>-<run>-<n>.parquet` in one folder.

    vLLM kills its engine process at once when the server stops (unless it runs with --shutdown-timeout), so nothing may
    wait for the end: a table's newest file is written anew with what has come in since, wait_s after the oldest new row
    or on the first quiet tick. A killed process loses what came in its last wait_s + tick_s, and no finished file.

    `add` never blocks and never raises. Where the folder takes no files (disk full, read-only, gone), up to a file of
    each table is kept and tried again; what comes beyond that is dropped, as is a row that finds the queue full or does
    not fit its schema. Each dropped row is counted through `dropped`.
    """

    def __init__(self, folder: Path, dropped: Callable[[int], None], limits: Limits | None = None) -> None:
        self._folder = folder
        self._limits = limits or Limits()
        self._losses = Losses(dropped)
        self._outage = Outage(dropped)
        run = run_name()
        self._files: dict[TableName, TableFiles] = {
            table: TableFiles(folder, table, run, self._limits.file_bytes, self._limits.file_age_s)
            for table in get_args(TableName)
        }
        self._queue: deque[tuple[TableName, Row, int]] = deque()
        self._put_bytes = 0  # changed by the adding thread alone, the next by the recorder's: they need no lock
        self._taken_bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="augserve-recorder", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def add(self, table: TableName, row: Row, text_bytes: int = 0) -> None:
        """Take a row, with the columns of data.schema.TABLES; a missing one is null. To be called from one thread.
        `text_bytes`: memory of the text in the row."""
        size = ROW_BYTES + text_bytes
        if self._stop.is_set():
            self._losses.add(1, "the recorder is closed")
        elif self._put_bytes - self._taken_bytes + size > self._limits.queued_bytes:
            self._losses.add(1, "the recorder's queue is full: the disk is too slow")
        else:
            self._put_bytes += size
            self._queue.append((table, row, size))

    def close(self, timeout_s: float = 10.0) -> None:
        """Write what is left and end the thread. May be called again."""
        atexit.unregister(self.close)
        self._stop.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        self._remove_oldest()
        oldest_s: float | None = None
        seen = 0
        while not self._stop.wait(self._limits.tick_s):
            count = len(self._queue)
            if count or self._outage.cause is not None:
                now_s = time.monotonic()
                oldest_s = now_s if oldest_s is None else oldest_s
                quiet = count == seen and self._outage.cause is None
                if quiet or now_s - oldest_s >= self._limits.wait_s:
                    self._flush()
                    oldest_s, count = None, 0
            seen = count
            self._losses.report()
        self._flush()
        self._outage.lost(sum(files.forget() for files in self._files.values()))
        self._outage.over(self._folder)
        self._losses.report(at_once=True)

    def _flush(self) -> None:
        """Put what is queued on the disk. Raises nothing."""
        failed: set[TableName] = set()
        for table, rows in self._chunks():
            files = self._files[table]
            if files.full and table not in failed and not self._write(files):
                failed.add(table)
            if files.full:
                self._outage.lost(len(rows))
                continue
            try:
                fitting, unfit = convert(table, rows)
                files.add(fitting)
            except Exception as error:  # noqa: BLE001 — traces never stop the engine, nor these the ones to come
                self._losses.add(len(rows), repr(error))
            else:
                self._losses.add(unfit, f"they do not fit the schema of {table}")
            time.sleep(BREATH_S)  # lets the engine's thread run
        failed |= {table for table, files in self._files.items() if table not in failed and not self._write(files)}
        if not failed:
            self._outage.over(self._folder)

    def _chunks(self) -> Iterator[tuple[TableName, list[Row]]]:
        """The queued rows, in order, a table's in small heaps."""
        heaps: dict[TableName, list[Row]] = {table: [] for table in self._files}
        sizes = dict.fromkeys(heaps, 0)
        for _ in range(len(self._queue)):
            table, row, size = self._queue.popleft()
            self._taken_bytes += size
            heaps[table].append(row)
            sizes[table] += size
            if sizes[table] >= CHUNK_BYTES:
                yield table, heaps[table]
                heaps[table], sizes[table] = [], 0
        yield from ((table, rows) for table, rows in heaps.items() if rows)

    def _write(self, files: TableFiles) -> bool:
        """Whether the folder takes files."""
        try:
            finished = files.write()
        except OSError as error:
            self._outage.failed(self._folder, error)
            return False
        except Exception as error:  # noqa: BLE001 — see _flush
            self._losses.add(files.forget(), repr(error))
            return True
        if finished:
            self._remove_oldest()
        return True

    def _remove_oldest(self) -> None:
        try:
            open_files = [files.path for files in self._files.values()]
            reserve = len(open_files) * self._limits.file_bytes  # by which they may grow before the next call
            remove_oldest(self._folder, self._limits.total_bytes - reserve, keep=open_files)
        except OSError as error:
            logger.warning(
                "augserve: cannot keep %s below its limit (%s); remove old files yourself", self._folder, error
            )
