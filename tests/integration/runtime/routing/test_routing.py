"""What an engine tells the API servers of its work, on vLLM's real scheduler."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from augserve.runtime.publisher import FOLDER_VARIABLE
from augserve.runtime.routing.load_notice import LoadReader

from ..conftest import EngineMaker
from ..control.changes import post
from ..requests import load


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    told = tmp_path / "told"
    told.mkdir()
    monkeypatch.setenv(FOLDER_VARIABLE, str(told))
    return told


def backlogs(folder: Path) -> Mapping[int, float] | None:
    return LoadReader(folder).backlogs_s(range(1))


def test_an_engine_is_known_before_its_first_step(make_engine: EngineMaker, folder: Path) -> None:
    make_engine(max_num_seqs=4)
    assert backlogs(folder) == {0: 0.0}


def test_waiting_turns_are_told(make_engine: EngineMaker, folder: Path) -> None:
    engine = make_engine(max_num_seqs=4)
    load(engine, 30)
    engine.clock.now_s += 1.0
    engine.step()
    told = backlogs(folder)
    assert told is not None
    assert told[0] > 0.0


def test_an_engine_that_decides_again_is_known_before_its_next_turn(make_engine: EngineMaker, folder: Path) -> None:
    engine = make_engine(max_num_seqs=4)
    post(engine, mode="shadow")
    engine.step()
    assert backlogs(folder) is None
    post(engine, mode="active")
    engine.step()
    assert backlogs(folder) == {0: 0.0}
