"""What engines tell of their work."""

import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from augserve.runtime.routing import load_notice
from augserve.runtime.routing.load_notice import LoadReader, LoadWriter

OTHER = """
import sys
from pathlib import Path
from augserve.runtime.routing.load_notice import LoadWriter
writer = LoadWriter(Path(sys.argv[1]), 1)
writer.tell(5.0, 0.5)
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """A writer for each rank, as if of another process."""
    monkeypatch.setattr(load_notice, "_lives", lambda _: True)

    def of(rank: int) -> LoadWriter:
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: 1000 + rank)
            return LoadWriter(tmp_path, rank)

    return of


def test_the_backlog_shrinks_while_the_engine_works(tmp_path: Path, engines) -> None:  # type: ignore[no-untyped-def]
    engines(0).tell(5.0, 0.0)
    engines(1).tell(0.001, 0.0)
    time.sleep(0.01)
    told = LoadReader(tmp_path).backlogs_s(range(2))
    assert told is not None
    assert 4.0 < told[0] < 5.0
    assert told[1] == 0.0


def test_what_was_placed_counts_until_the_engine_can_have_told_it(
    tmp_path: Path, engines, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    for rank in range(2):
        engines(rank).tell(0.0, 3.0)
    reader = LoadReader(tmp_path)
    reader.placed(1)
    assert reader.backlogs_s(range(2)) == {0: 0.0, 1: 3.0}
    later_s = time.monotonic() + 1.0
    monkeypatch.setattr(time, "monotonic", lambda: later_s)
    assert reader.backlogs_s(range(2)) == {0: 0.0, 1: 0.0}


def test_an_engine_that_does_not_decide_leaves_the_choice_to_vllm(tmp_path: Path, engines) -> None:  # type: ignore[no-untyped-def]
    reader = LoadReader(tmp_path)
    assert reader.backlogs_s(range(2)) is None
    engines(0).tell(math.nan, 0.0)
    assert LoadReader(tmp_path).backlogs_s(range(2)) is None


def test_engines_that_cannot_be_compared_count_alike(tmp_path: Path, engines) -> None:  # type: ignore[no-untyped-def]
    """Those of another host tell nothing here."""
    engines(0).tell(9.0, 0.0)
    assert LoadReader(tmp_path).backlogs_s(range(3)) == {0: 0.0, 1: 0.0, 2: 0.0}


def test_a_rank_that_is_not_of_this_server_is_left_out(tmp_path: Path, engines) -> None:  # type: ignore[no-untyped-def]
    for rank in (1, 2, 7):
        engines(rank).tell(1.0, 0.0)
    told = LoadReader(tmp_path).backlogs_s(range(1, 3))
    assert told is not None
    assert set(told) == {1, 2}


def test_an_engine_is_live_as_long_as_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    LoadWriter(tmp_path, 0).tell(1.0, 0.0)
    command = [sys.executable, "-c", OTHER, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    reader = LoadReader(tmp_path)
    with subprocess.Popen(command, env=environment, **pipes) as engine:  # type: ignore[call-overload]
        engine.stdout.readline()
        assert set(reader.backlogs_s(range(2)) or ()) == {0, 1}
        engine.kill()
    monkeypatch.setattr(load_notice, "LOOK_S", 0.0)
    assert set(reader.backlogs_s(range(2)) or ()) == {0}
