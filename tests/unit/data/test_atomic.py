import json
import shutil
from pathlib import Path

import pytest

from augserve.data.atomic import atomic_file, replace_folder, write_json


def test_a_file_replaces_the_old_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "value.json"
    write_json(path, {"b": 1, "a": [2.5]})
    write_json(path, {"a": 3})
    assert json.loads(path.read_text()) == {"a": 3}
    assert [entry.name for entry in path.parent.iterdir()] == ["value.json"]


def test_an_exception_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "value.txt"
    path.write_text("old")

    def interrupted() -> None:
        with atomic_file(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_same_value_gives_the_same_bytes(tmp_path: Path) -> None:
    write_json(tmp_path / "one.json", {"a": 1, "b": {"c": 2, "d": 3}})
    write_json(tmp_path / "two.json", {"b": {"d": 3, "c": 2}, "a": 1})
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_nan_is_refused_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "value.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "stale").write_text("old")
    replace_folder(folder, lambda place: (place / "fresh").write_text("new") and None)
    assert [entry.name for entry in folder.iterdir()] == ["fresh"]


def test_a_replacement_that_fails_brings_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "kept").write_text("old")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "no space")))
    with pytest.raises(OSError, match="no space"):
        replace_folder(folder, lambda place: (place / "fresh").write_text("new") and None)
    assert [entry.name for entry in folder.iterdir()] == ["kept"]
    assert list(tmp_path.iterdir()) == [folder]


def test_the_old_folder_is_not_deleted_before_the_new_one_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "kept").write_text("old")
    contents: list[list[str]] = []
    removed = shutil.rmtree

    def watched(path: Path, *, ignore_errors: bool = False) -> None:
        contents.append([entry.name for entry in folder.iterdir()] if folder.exists() else [])
        removed(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", watched)
    replace_folder(folder, lambda place: (place / "fresh").write_text("new") and None)
    assert contents
    assert all(seen == ["fresh"] for seen in contents)


def test_a_failing_fill_leaves_the_old_folder(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "kept").write_text("old")

    def fill(place: Path) -> None:
        (place / "half").write_text("new")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        replace_folder(folder, fill)
    assert [entry.name for entry in folder.iterdir()] == ["kept"]
    assert list(tmp_path.iterdir()) == [folder]
