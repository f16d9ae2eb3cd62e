import stat
from multiprocessing import get_context
from pathlib import Path

import pytest

from augserve.data.tables.files import TraceError
from augserve.data.tables.pseudonyms import KEY_FILE, Pseudonyms


def test_an_id_keeps_its_name_in_a_folder_and_has_another_one_elsewhere(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    name = Pseudonyms.kept_in(here).of("mail@example.org")
    assert Pseudonyms.kept_in(here).of("mail@example.org") == name
    assert Pseudonyms.kept_in(there).of("mail@example.org") != name
    assert [entry.name for entry in here.iterdir()] == [KEY_FILE]


def test_nobody_else_may_read_the_key(tmp_path: Path) -> None:
    Pseudonyms.kept_in(tmp_path)
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    assert "key" not in repr(Pseudonyms.kept_in(tmp_path))


def test_a_damaged_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_bytes(b"short")
    with pytest.raises(TraceError, match="remove it"):
        Pseudonyms.kept_in(tmp_path)


def name_in(folder: Path) -> str:
    return Pseudonyms.kept_in(folder).of("s")


def test_processes_that_start_together_share_one_key(tmp_path: Path) -> None:
    with get_context("fork").Pool(4) as pool:
        assert len(set(pool.map(name_in, [tmp_path] * 16))) == 1
