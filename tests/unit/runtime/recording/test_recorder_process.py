"""The recorder in its own process: killed, on a full disk, without permission."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from augserve.data.tables.files import read_table

RECORD = """
import os, resource, sys, time
from pathlib import Path
from augserve.runtime.recording.recorder import Limits, Recorder

folder, user = Path(sys.argv[1]), int(sys.argv[2])
import pyarrow.parquet, augserve.data.atomic
if user:
    os.seteuid(user)
dropped = 0
def count(rows):
    global dropped
    dropped += rows
recorder = Recorder(folder, count, Limits(wait_s=0.1, tick_s=0.03, file_bytes=20_000))
sent = 0
def send():
    global sent
    recorder.add("turns", dict(source="s", session_id="s", turn=sent, arrival_s=time.time(), prompt_tokens=1,
                               output_tokens=1))
    sent += 1
    time.sleep(0.0005)
"""
ENDLESS = RECORD + "while True: send()"
STEERED = (
    RECORD
    + """
import threading
command, ended = "", False
def listen():
    global command, ended
    for line in sys.stdin:
        command = line.strip()
    ended = True
threading.Thread(target=listen, daemon=True).start()
while not ended:
    if command.startswith("limit"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(command.split()[1]), resource.RLIM_INFINITY))
        command = ""
    send()
recorder.close()
print(sent, dropped)
"""
)
SLOW = (
    """
import pathlib, time
def slow(path, target, replace=pathlib.Path.replace):
    time.sleep(1.0)
    return replace(path, target)
pathlib.Path.replace = slow
"""
    + RECORD
    + """
longest_s, end_s = 0.0, time.monotonic() + 2.5
while time.monotonic() < end_s:
    start_s = time.monotonic()
    send()
    longest_s = max(longest_s, time.monotonic() - start_s)
recorder.close()
print(sent, dropped, longest_s)
"""
)
NOBODY = 65534
PATIENCE_S = 60.0


@contextmanager
def running(script: str, folder: Path, user: int = 0) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(folder), str(user)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("turns-*.parquet"))


def until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end_s, "waited in vain"
        time.sleep(0.01)


def rows_on_disk(folder: Path) -> int:
    with suppress(FileNotFoundError):
        return sum(pq.read_metadata(path).num_rows for path in files(folder))
    return 0


@pytest.mark.parametrize("moment_s", [0.0, 0.013, 0.037, 0.071])
def test_a_killed_process_leaves_readable_files_and_loses_only_its_last_rows(tmp_path: Path, moment_s: float) -> None:
    with running(ENDLESS, tmp_path) as process:
        until(lambda: len(files(tmp_path)) >= 4, process)
        time.sleep(moment_s)
        killed_s = time.time()
        process.send_signal(signal.SIGKILL)
        process.wait()
    table = read_table(tmp_path, "turns")  # reads, and checks, every file
    turns = table["turn"].to_pylist()
    assert turns == list(range(len(turns)))  # none missing in between, none twice
    assert killed_s - table["arrival_s"].to_pylist()[-1] < 5.0  # 0.13 s on an idle machine


def test_recording_resumes_after_a_full_disk(tmp_path: Path) -> None:
    with running(STEERED, tmp_path) as process:
        assert process.stdin is not None
        until(lambda: len(files(tmp_path)) >= 2, process)
        process.stdin.write("limit 10\n")  # no file may grow beyond ten bytes: writes fail as on a full disk
        process.stdin.flush()
        time.sleep(0.5)
        before = rows_on_disk(tmp_path)
        time.sleep(2.0)
        assert rows_on_disk(tmp_path) == before
        process.stdin.write("limit 1000000000\n")
        process.stdin.flush()
        until(lambda: rows_on_disk(tmp_path) > before, process)
        outcome, warned = process.communicate(timeout=PATIENCE_S)
    sent, dropped = map(int, outcome.split())
    turns = read_table(tmp_path, "turns")["turn"].to_pylist()
    assert len(turns) + dropped == sent
    assert turns == sorted(set(turns))
    assert turns[-1] == sent - 1
    assert not list(tmp_path.glob(".*"))
    assert warned.count("cannot write traces") == 1


def test_a_slow_disk_keeps_nobody_waiting(tmp_path: Path) -> None:
    """Each file takes a second to be written."""
    with running(SLOW, tmp_path) as process:
        outcome, _ = process.communicate(timeout=PATIENCE_S)
    sent, dropped, longest_s = map(float, outcome.split())
    assert longest_s < 0.5
    turns = read_table(tmp_path, "turns")["turn"].to_pylist()
    assert turns == list(range(len(turns)))
    assert 0 < len(turns) <= sent
    assert dropped == 0


@pytest.fixture
def foreign_folder() -> Iterator[Path]:
    """A folder that an unprivileged user can write to."""
    parent = Path(tempfile.mkdtemp(prefix="augserve-test-"))
    parent.chmod(0o755)
    folder = parent / "traces"
    folder.mkdir()
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(parent)


def test_recording_resumes_after_a_read_only_folder(foreign_folder: Path) -> None:
    user = NOBODY if os.geteuid() == 0 else 0
    with running(STEERED, foreign_folder, user) as process:
        until(lambda: files(foreign_folder), process)
        foreign_folder.chmod(0o555)
        time.sleep(0.5)
        before = rows_on_disk(foreign_folder)
        time.sleep(1.0)
        assert rows_on_disk(foreign_folder) == before
        foreign_folder.chmod(0o755)
        until(lambda: rows_on_disk(foreign_folder) > before, process)
        outcome, warned = process.communicate(timeout=PATIENCE_S)
    sent, dropped = map(int, outcome.split())
    assert read_table(foreign_folder, "turns").num_rows + dropped == sent
    assert warned.count("Permission denied") == 1
