"""Writes traces: a bounded queue of rows, and a thread that writes them to Parquet files."""

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
from .lost_rows import WARN_S, LostRows

logger = logging.getLogger(f"vllm.{__name__}")

Row = dict[str, object]

ROW_BYTES = 2048
"""Memory of a queued row without its text, about that of a turn."""
CHUNK_BYTES = 256 << 10
"""Rows converted at once: about 0.3 ms in which the interpreter's lock may block the engine."""
NOT_WRITABLE = "their folder is not writable"
BREATH_S = 0.0002
"""Pause between two conversions, in which the engine's thread can run."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on a recorder's disk, memory and delay."""

    total_bytes: int = 10_000_000_000  # all files in the folder; the oldest are removed
    total_age_s: float = 30 * 86_400.0  # older files are removed
    file_bytes: int = 4 << 20  # rows of one file, in memory
    file_age_s: float = 3600.0
    queued_bytes: int = 64 << 20
    wait_s: float = 1.5  # longest wait of a row before a write
    tick_s: float = 0.5
    tidy_s: float = 600.0  # between two looks at the files' age while nothing is recorded


class Recorder:
    """Rows of a trace's three tables, as files `<table>-<run>-<n>.parquet` in one folder.

    vLLM kills its engine process when the server stops (unless it runs with --shutdown-timeout), so rows are written
    soon: `wait_s` after the oldest new row, or on the first tick without new rows. A killed process loses the rows of
    its last `wait_s + tick_s` and those of a write under way, and no file that was written before.

    `add` neither blocks nor raises. While the folder is not writable, one file of each table is buffered and retried.
    Rows beyond that are dropped, as are rows that exceed the queue or do not fit their schema; `dropped` receives their
    number.
    """

    def __init__(self, folder: Path, dropped: Callable[[int], None], limits: Limits | None = None) -> None:
        self._folder = folder
        self._limits = limits or Limits()
        self._lost = LostRows(dropped)
        self._outage: OSError | None = None  # why the folder is not writable
        self._outage_warned_s = float("-inf")
        run = run_name()
        self._files: dict[TableName, TableFiles] = {
            table: TableFiles(folder, table, run, self._limits.file_bytes, self._limits.file_age_s)
            for table in get_args(TableName)
        }
        self._queue: deque[tuple[TableName, Row, int]] = deque()
        self._put_bytes = 0  # written by the engine's thread alone, the next by the recorder's: no lock needed
        self._taken_bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="augserve-recorder", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def add(self, table: TableName, row: Row, text_bytes: int = 0) -> None:
        """Queue a row with the columns of data.tables.schema.TABLES; a missing column is null. Call it from one thread.

        `text_bytes`: memory of the text in the row.
        """
        size = ROW_BYTES + text_bytes
        if self._stop.is_set():
            self._lost.add(1, "the recorder is closed")
        elif self._put_bytes - self._taken_bytes + size > self._limits.queued_bytes:
            self._lost.add(1, "the recorder's queue is full: the disk is too slow")
        else:
            self._put_bytes += size
            self._queue.append((table, row, size))

    def close(self, timeout_s: float = 10.0) -> None:
        """Write all queued rows and end the thread. A second call does nothing."""
        atexit.unregister(self.close)
        self._stop.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        self._remove_oldest()
        oldest_s: float | None = None
        seen, tidied_s = 0, time.monotonic()
        while not self._stop.wait(self._limits.tick_s):
            count = len(self._queue)
            if count or self._outage is not None:
                now_s = time.monotonic()
                oldest_s = now_s if oldest_s is None else oldest_s
                quiet = count == seen and self._outage is None
                if quiet or now_s - oldest_s >= self._limits.wait_s:
                    self._flush()
                    oldest_s, count = None, 0
            seen = count
            if time.monotonic() - tidied_s >= self._limits.tidy_s:
                tidied_s = time.monotonic()
                self._flush()  # ends files that are old enough, although they get no more rows
                self._remove_oldest()
            self._lost.report()
        self._flush()
        self._lost.add(sum(files.forget() for files in self._files.values()), NOT_WRITABLE)
        self._lost.report(at_once=True)

    def _flush(self) -> None:
        """Write the queued rows to disk. Raises nothing."""
        failed: set[TableName] = set()
        for table, rows in self._chunks():
            files = self._files[table]
            if files.full and table not in failed and not self._write(files):
                failed.add(table)
            if files.full:
                self._lost.add(len(rows), NOT_WRITABLE)
                continue
            try:
                fitting, unfit = convert(table, rows)
                files.add(fitting)
            except Exception as error:  # noqa: BLE001 — a bad row stops neither the engine nor later rows
                self._lost.add(len(rows), repr(error))
            else:
                self._lost.add(unfit, f"they do not fit the schema of {table}")
            time.sleep(BREATH_S)
        failed |= {table for table, files in self._files.items() if table not in failed and not self._write(files)}
        if not failed and self._outage is not None:
            self._outage = None
            self._lost.report(at_once=True)
            logger.info("augserve: %s is writable again", self._folder)

    def _chunks(self) -> Iterator[tuple[TableName, list[Row]]]:
        """The queued rows in order, in chunks of one table."""
        chunks: dict[TableName, list[Row]] = {table: [] for table in self._files}
        sizes = dict.fromkeys(chunks, 0)
        for _ in range(len(self._queue)):
            table, row, size = self._queue.popleft()
            self._taken_bytes += size
            chunks[table].append(row)
            sizes[table] += size
            if sizes[table] >= CHUNK_BYTES:
                yield table, chunks[table]
                chunks[table], sizes[table] = [], 0
        yield from ((table, rows) for table, rows in chunks.items() if rows)

    def _write(self, files: TableFiles) -> bool:
        """Write the table's rows; False if the folder is not writable."""
        try:
            finished = files.write()
        except OSError as error:
            self._warn_of_outage(error)
            return False
        except Exception as error:  # noqa: BLE001 — see _flush
            self._lost.add(files.forget(), repr(error))
            return True
        if finished:
            self._remove_oldest()
        return True

    def _warn_of_outage(self, error: OSError) -> None:
        if self._outage is None and time.monotonic() - self._outage_warned_s >= WARN_S:
            self._outage_warned_s = time.monotonic()
            logger.warning(
                "augserve: cannot write traces to %s (%s); rows are buffered, then dropped and counted; repair the "
                "folder, AugServe retries every few seconds",
                self._folder,
                error,
            )
        self._outage = error

    def _remove_oldest(self) -> None:
        try:
            open_files = [files.path for files in self._files.values()]
            reserve = len(open_files) * self._limits.file_bytes  # growth before the next call
            remove_oldest(
                self._folder, self._limits.total_bytes - reserve, keep=open_files, max_age_s=self._limits.total_age_s
            )
        except OSError as error:
            logger.warning(
                "augserve: cannot keep %s below its limits (%s); remove old files yourself", self._folder, error
            )
