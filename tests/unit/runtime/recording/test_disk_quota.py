import os
import time
from pathlib import Path

import pytest

from augserve.runtime.recording.disk_quota import remove_oldest, run_name


def put(folder: Path, name: str, age_s: float, size: int = 100) -> Path:
    path = folder / name
    path.write_bytes(b"x" * size)
    time_s = 1_700_000_000 - age_s
    os.utime(path, (time_s, time_s))
    return path


def test_the_oldest_file_of_all_tables_is_removed_first(tmp_path: Path) -> None:
    run = run_name()
    oldest = put(tmp_path, f"turns-{run}-000000.parquet", 50)
    older = put(tmp_path, f"steps-{run}-000000.parquet", 40)
    newer = put(tmp_path, f"turns-{run}-000001.parquet", 30)
    assert remove_oldest(tmp_path, 250, keep=()) == 1
    assert [oldest.exists(), older.exists(), newer.exists()] == [False, True, True]
    assert remove_oldest(tmp_path, 250, keep=()) == 0


def test_a_file_that_is_too_old_is_removed_however_few_there_are(tmp_path: Path) -> None:
    run, now_s = run_name(), time.time()
    old, young, other = (tmp_path / f"{name}-{run}-000000.parquet" for name in ("turns", "steps", "notes"))
    for path, age_s in ((old, 5000.0), (young, 1000.0), (other, 5000.0)):
        path.write_bytes(b"x")
        os.utime(path, (now_s - age_s, now_s - age_s))
    assert remove_oldest(tmp_path, 1 << 30, keep=(), max_age_s=3000.0) == 1
    assert [old.exists(), young.exists(), other.exists()] == [False, True, True]


def test_an_open_file_is_never_removed(tmp_path: Path) -> None:
    run = run_name()
    still_open = put(tmp_path, f"tool_calls-{run}-000000.parquet", 50)
    finished = put(tmp_path, f"steps-{run}-000000.parquet", 40)
    assert remove_oldest(tmp_path, 0, keep=[still_open]) == 1
    assert still_open.exists()
    assert not finished.exists()


@pytest.mark.parametrize(
    "name",
    [
        "turns.parquet",
        "steps-mine.parquet",
        "turns-1700000000-0a1b2c3d-000000.parquet.bak",
        "my-turns-1700000000-0a1b2c3d-000000.parquet",
        "notes.txt",
        ".turns-1700000000.parquet.abc",
    ],
)
def test_a_file_of_no_recorder_is_never_removed(tmp_path: Path, name: str) -> None:
    path = put(tmp_path, name, 1e6)
    assert remove_oldest(tmp_path, 0, keep=()) == 0
    assert path.exists()


def test_a_link_or_folder_with_the_name_of_a_recorder_file_is_never_removed(tmp_path: Path) -> None:
    target = put(tmp_path, "precious.parquet", 1e6)
    (tmp_path / f"turns-{run_name()}-000000.parquet").symlink_to(target)
    (tmp_path / f"steps-{run_name()}-000000.parquet").mkdir()
    assert remove_oldest(tmp_path, 0, keep=()) == 0
    assert len(list(tmp_path.iterdir())) == 3


def test_stale_temporary_files_are_removed(tmp_path: Path) -> None:
    run = run_name()
    stale = put(tmp_path, f".turns-{run}-000000.parquet.abc_123", 50)
    fresh = tmp_path / f".turns-{run}-000001.parquet.abc_124"
    fresh.write_bytes(b"x")
    assert remove_oldest(tmp_path, 1000, keep=()) == 1
    assert not stale.exists()
    assert fresh.exists()


def test_a_missing_folder_is_no_error(tmp_path: Path) -> None:
    assert remove_oldest(tmp_path / "gone", 0, keep=()) == 0
