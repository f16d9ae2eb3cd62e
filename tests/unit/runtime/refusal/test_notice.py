import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from augserve.runtime.publisher import FOLDER_VARIABLE
from augserve.runtime.refusal.notice import ExpectedWait, NoticeReader, NoticeWriter

OTHER = """
import sys
from pathlib import Path
from augserve.runtime.refusal.notice import ExpectedWait, NoticeWriter
writer = NoticeWriter(Path(sys.argv[1]), 20.0)
for line in sys.stdin:
    writer.tell(ExpectedWait(*map(float, line.split())))
    print(writer.secret, flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    return tmp_path


def test_what_an_engine_tells_reaches_another_process_at_once(folder: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", OTHER, str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as engine:  # type: ignore[call-overload]
        reader = NoticeReader()
        for wait in (ExpectedWait(1.0, 0.5), ExpectedWait(30.0, 0.25)):
            engine.stdin.write(f"{wait.wait_s} {wait.turn_s}\n")
            engine.stdin.flush()
            secret = engine.stdout.readline().strip()
            notice = reader.read()
            assert notice is not None
            assert (notice.wait, notice.limit_s, notice.secret) == (wait, 20.0, secret)
            assert 0.0 <= time.monotonic() - notice.told_s < 60.0
        engine.stdin.close()


def test_without_an_engine_that_tells_nothing_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert NoticeReader().read() is None
    (folder / "1.wait").write_bytes(b"")
    assert NoticeReader().read() is None
    monkeypatch.delenv(FOLDER_VARIABLE)
    assert NoticeReader().read() is None


def test_of_several_engines_the_one_with_the_shortest_wait_counts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, wait_s in enumerate((9.0, 5.0, 7.0)):
        monkeypatch.setattr(os, "getpid", lambda number=number: number)
        NoticeWriter(folder, 20.0).tell(ExpectedWait(wait_s, 0.0))
    notice = NoticeReader().read()
    assert notice is not None
    assert notice.wait.wait_s == 5.0


def test_only_the_owner_reads_the_file_and_it_goes_with_the_engine(folder: Path) -> None:
    writer = NoticeWriter(folder, 20.0)
    (path,) = folder.iterdir()
    assert path.stat().st_mode & 0o077 == 0
    writer.close()
    assert not list(folder.iterdir())
