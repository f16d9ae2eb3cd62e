import shutil
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from augserve.data.tables.files import read_table
from augserve.data.tables.schema import TOOL_CALLS
from augserve.runtime.recording import files as trace_files
from augserve.runtime.recording.recorder import Limits, Recorder

FAST = Limits(wait_s=0.05, tick_s=0.02)
PATIENCE_S = 30.0


def row(number: int) -> dict[str, object]:
    return {
        "source": "s",
        "session_id": f"{number}",
        "turn": 0,
        "call": 0,
        "tool": "t",
        "start_s": 0.0,
        "duration_s": 1.0,
        "timing": "call",
    }


def read(folder: Path) -> list[str]:
    return list(read_table(folder, "tool_calls")["session_id"].to_pylist())


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("tool_calls-*.parquet"))


class Dropped:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self, rows: int) -> None:
        self.count += rows


@pytest.fixture
def dropped() -> Dropped:
    return Dropped()


@pytest.fixture
def warnings(vllm_log: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    return vllm_log


def until(condition: object) -> None:
    assert callable(condition)
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, "waited in vain"
        time.sleep(0.01)


def test_all_rows_are_there_after_close_in_order_and_schema(tmp_path: Path, dropped: Dropped) -> None:
    recorder = Recorder(tmp_path, dropped)
    for number in range(1000):
        recorder.add("tool_calls", row(number))
    recorder.close()
    recorder.close()
    (path,) = files(tmp_path)
    assert pq.read_schema(path).equals(TOOL_CALLS, check_metadata=True)
    assert read(tmp_path) == [str(number) for number in range(1000)]
    assert dropped.count == 0
    assert not list(tmp_path.glob(".*"))


def test_rows_reach_the_disk_without_close_and_the_newest_file_grows(tmp_path: Path, dropped: Dropped) -> None:
    recorder = Recorder(tmp_path, dropped, FAST)
    recorder.add("tool_calls", row(1))
    until(lambda: files(tmp_path))
    recorder.add("tool_calls", row(2))
    until(lambda: read(tmp_path) == ["1", "2"])
    assert len(files(tmp_path)) == 1
    recorder.close()


def test_a_full_file_is_followed_by_another(tmp_path: Path, dropped: Dropped) -> None:
    recorder = Recorder(tmp_path, dropped, Limits(wait_s=0.0, tick_s=0.01, file_bytes=2000))
    for number in range(300):
        recorder.add("tool_calls", row(number))
        if number % 10 == 0:
            time.sleep(0.02)
    recorder.close()
    assert read(tmp_path) == [str(number) for number in range(300)]
    sizes = [pq.read_table(path).nbytes for path in files(tmp_path)]
    assert len(sizes) > 2
    assert all(size >= 2000 for size in sizes[:-1])


def test_an_old_file_is_followed_by_another(tmp_path: Path, dropped: Dropped) -> None:
    recorder = Recorder(tmp_path, dropped, Limits(wait_s=0.05, tick_s=0.02, file_age_s=0.0))
    for number in range(3):
        recorder.add("tool_calls", row(number))
        until(lambda expected=number + 1: len(files(tmp_path)) == expected)
    recorder.close()
    assert [pq.read_table(path).num_rows for path in files(tmp_path)] == [1, 1, 1]


def test_two_recorders_share_a_folder_but_no_file(tmp_path: Path, dropped: Dropped) -> None:
    first, second = Recorder(tmp_path, dropped), Recorder(tmp_path, dropped)
    first.add("tool_calls", row(1))
    second.add("tool_calls", row(2))
    first.close()
    second.close()
    assert sorted(read(tmp_path)) == ["1", "2"]


def test_a_vanished_folder_is_made_again(tmp_path: Path, dropped: Dropped) -> None:
    folder = tmp_path / "traces"
    folder.mkdir()
    recorder = Recorder(folder, dropped, FAST)
    recorder.add("tool_calls", row(1))
    until(lambda: files(folder))
    shutil.rmtree(folder)
    recorder.add("tool_calls", row(2))
    recorder.close()
    assert read(folder) == ["1", "2"]  # the rows of the open file are still in memory
    assert dropped.count == 0


def test_a_vanished_parent_is_waited_for(tmp_path: Path, dropped: Dropped, warnings: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "mount" / "traces"
    folder.mkdir(parents=True)
    recorder = Recorder(folder, dropped, FAST)
    shutil.rmtree(folder.parent)
    recorder.add("tool_calls", row(1))
    until(lambda: warnings.records)
    assert not folder.parent.exists()
    folder.parent.mkdir()
    until(lambda: folder.exists() and files(folder))
    recorder.close()
    assert read(folder) == ["1"]
    assert dropped.count == 0
    assert len(warnings.records) == 1


def test_a_full_disk_drops_counts_and_warns_once_until_there_is_room(
    tmp_path: Path, dropped: Dropped, warnings: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = True
    attempts = 0
    write_table = pq.write_table

    def write(table: pa.Table, path: Path, **options: object) -> None:
        nonlocal attempts
        attempts += 1
        if full:
            path.write_bytes(b"PAR1, and no more")
            raise OSError(28, "No space left on device")
        write_table(table, path, **options)

    monkeypatch.setattr(trace_files.pq, "write_table", write)
    recorder = Recorder(tmp_path, dropped, Limits(wait_s=0.02, tick_s=0.01, file_bytes=2000))
    sent = 0

    def send_until(condition: object) -> None:
        nonlocal sent
        assert callable(condition)
        while not condition():
            recorder.add("tool_calls", row(sent))
            sent += 1
            time.sleep(0.002)

    send_until(lambda: dropped.count > 20 and attempts > 5)  # more than the buffer
    assert not list(tmp_path.iterdir())
    assert warnings.text.count("No space left on device") == 1
    full = False
    until(lambda: files(tmp_path))
    last = sent
    recorder.add("tool_calls", row(last))
    sent += 1
    recorder.close()
    recorded = read(tmp_path)
    assert recorded[-1] == str(last)
    assert recorded[0] == "0"  # the first ones were buffered
    assert len(recorded) + dropped.count == sent
    assert len(set(recorded)) == len(recorded)
    assert sum(int(record.args[0]) for record in warnings.records[1:]) == dropped.count  # type: ignore[index, arg-type]
    assert len(warnings.records) <= 3


def test_rows_that_are_never_written_are_counted(
    tmp_path: Path, dropped: Dropped, warnings: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "traces"
    folder.write_text("a file where the folder was")
    recorder = Recorder(folder, dropped)
    recorder.add("tool_calls", row(1))
    recorder.close()
    assert dropped.count == 1
    assert str(folder) in warnings.text


def test_only_the_rows_that_do_not_fit_are_dropped(
    tmp_path: Path, dropped: Dropped, warnings: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder(tmp_path, dropped)
    recorder.add("tool_calls", row(1))
    recorder.add("tool_calls", {**row(2), "turn": "no number"})
    recorder.add("tool_calls", {**row(3), "tool": "\ud800"})
    recorder.add("tool_calls", {})
    recorder.add("tool_calls", row(4))
    recorder.close()
    assert read(tmp_path) == ["1", "4"]
    assert dropped.count == 3
    assert len(warnings.records) == 1


def test_rows_beyond_the_queue_are_dropped_and_counted_with_one_warning(
    tmp_path: Path, dropped: Dropped, warnings: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder(tmp_path, dropped, Limits(queued_bytes=10_000, tick_s=60.0))
    for number in range(100):
        recorder.add("tool_calls", row(number))
    recorder.close()
    assert len(read(tmp_path)) == 4
    assert dropped.count == 96
    (warning,) = warnings.records
    assert " 96 " in warning.getMessage()
    recorder.add("tool_calls", row(2))
    assert dropped.count == 97


def test_text_counts_towards_the_bound(tmp_path: Path, dropped: Dropped) -> None:
    recorder = Recorder(tmp_path, dropped, Limits(queued_bytes=1_000_000, tick_s=60.0))
    recorder.add("tool_calls", row(1), text_bytes=900_000)
    recorder.add("tool_calls", row(2), text_bytes=900_000)
    recorder.add("tool_calls", row(3))
    recorder.close()
    assert read(tmp_path) == ["1", "3"]
    assert dropped.count == 1


def test_the_folder_stays_below_its_limit(tmp_path: Path, dropped: Dropped) -> None:
    (tmp_path / "turns.parquet").write_bytes(b"x" * 100_000)  # not a recorder's
    limits = Limits(total_bytes=60_000, file_bytes=4000, wait_s=0.0, tick_s=0.01)
    recorder = Recorder(tmp_path, dropped, limits)
    number = 0
    while number < 3000:
        for _ in range(30):
            recorder.add("tool_calls", row(number))
            number += 1
        time.sleep(0.02)
        assert sum(path.stat().st_size for path in files(tmp_path) if path.exists()) <= limits.total_bytes
    recorder.close()
    recorded = read(tmp_path)
    assert recorded == [str(kept) for kept in range(number - len(recorded), number)]  # the newest, none missing
    assert 0 < len(recorded) < number
    assert (tmp_path / "turns.parquet").stat().st_size == 100_000


def test_files_that_are_too_old_are_removed_while_nothing_is_recorded(tmp_path: Path, dropped: Dropped) -> None:
    limits = Limits(wait_s=0.0, tick_s=0.01, tidy_s=0.05, file_age_s=0.1, total_age_s=0.3)
    recorder = Recorder(tmp_path, dropped, limits)
    recorder.add("tool_calls", row(1))
    until(lambda: files(tmp_path))
    until(lambda: not files(tmp_path))
    recorder.close()
    assert dropped.count == 0
