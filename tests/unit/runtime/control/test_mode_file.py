from pathlib import Path

import pytest

from augserve.runtime.control.mode_file import MODE_FILE, ModeError, ask_for, asked_mode, listening
from augserve.runtime.publisher import FOLDER_VARIABLE


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    return tmp_path


def test_engines_read_the_mode_that_was_asked_for_last(folder: Path) -> None:
    assert asked_mode(folder) is None
    with listening(folder):
        for mode in ("shadow", "off", "active"):
            ask_for(mode)
            assert asked_mode(folder) == mode


@pytest.mark.parametrize("mode", ["observe", "", None, 1, ["active"]])
def test_another_mode_is_refused(folder: Path, mode: object) -> None:
    with listening(folder), pytest.raises(ModeError, match="choose one of active, shadow, off"):
        ask_for(mode)


def test_a_mode_that_no_engine_would_read_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(folder):
        pass
    with pytest.raises(ModeError, match="no engine"):
        ask_for("shadow")
    monkeypatch.delenv(FOLDER_VARIABLE)
    with pytest.raises(ModeError, match="plug-in"):
        ask_for("shadow")
    assert not list(folder.iterdir())


@pytest.mark.parametrize("content", ["", "{", "[]", '{"mode": 3}', '{"mode": "on"}'])
def test_a_broken_file_asks_for_nothing(folder: Path, content: str) -> None:
    (folder / MODE_FILE).write_text(content)
    assert asked_mode(folder) is None
