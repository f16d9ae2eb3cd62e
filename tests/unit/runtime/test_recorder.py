import shutil
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from augserve.data.schema import TOOL_CALLS
from augserve.runtime.recorder import Recorder


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


def read(folder: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("tool_calls-*.parquet"))])


class Dropped:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self, rows: int) -> None:
        self.count += rows


def test_all_rows_are_there_after_close_in_order_and_schema(tmp_path: Path) -> None:
    dropped = Dropped()
    recorder = Recorder(tmp_path, dropped)
    for number in range(1000):
        recorder.add("tool_calls", row(number))
    recorder.close()
    recorder.close()
    table = read(tmp_path)
    assert table.schema.equals(TOOL_CALLS, check_metadata=True)
    assert table["session_id"].to_pylist() == [str(number) for number in range(1000)]
    assert dropped.count == 0
    assert not list(tmp_path.glob(".*"))


def test_rows_reach_the_disk_without_close(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, Dropped(), age_s=0.0)
    recorder.add("tool_calls", row(1))
    waited = threading.Event()
    for _ in range(100):
        if list(tmp_path.glob("*.parquet")):
            break
        waited.wait(0.1)
    assert read(tmp_path).num_rows == 1
    recorder.close()


def test_a_full_file_is_followed_by_another(tmp_path: Path) -> None:
    for _ in range(2):
        recorder = Recorder(tmp_path, Dropped(), file_rows=10)
        for number in range(10):
            recorder.add("tool_calls", row(number))
        recorder._collect()
        recorder._flush()
        recorder.add("tool_calls", row(10))
        recorder.close()
        assert [pq.read_table(path).num_rows for path in sorted(tmp_path.glob("*.parquet"))] == [10, 1]
        shutil.rmtree(tmp_path)


def test_a_vanished_folder_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "traces"
    folder.mkdir()
    recorder = Recorder(folder, Dropped())
    folder.rmdir()
    recorder.add("tool_calls", row(1))
    recorder.close()
    assert read(folder).num_rows == 1


def test_what_cannot_be_written_is_dropped_counted_and_warned_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dropped = Dropped()
    folder = tmp_path / "traces"
    folder.write_text("a file where the folder was")
    recorder = Recorder(folder, dropped)
    recorder.add("tool_calls", row(1))
    recorder.add("tool_calls", {**row(2), "turn": "no number"})
    recorder.add("turns", {})
    recorder.close()
    assert dropped.count == 3
    assert len(caplog.records) == 1


def test_rows_beyond_the_bound_are_dropped_and_counted(tmp_path: Path) -> None:
    dropped = Dropped()
    recorder = Recorder(tmp_path, dropped, max_queued=0)
    recorder.add("tool_calls", row(1))
    recorder.close()
    recorder.add("tool_calls", row(2))
    assert dropped.count == 2
