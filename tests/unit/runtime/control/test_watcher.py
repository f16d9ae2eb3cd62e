import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from augserve.models.serving.bundle import BundleError
from augserve.runtime.control import watcher as watcher_module
from augserve.runtime.control.mode_file import ask_for
from augserve.runtime.control.watcher import Change, Watcher
from augserve.runtime.deployment import Deployment
from augserve.runtime.publisher import FOLDER_VARIABLE


class Bench:
    """A watcher of a folder, and what it posted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.posted: list[Change] = []
        self.refused = 0
        self.loads = 0
        self.cause: str | None = None
        self.looks_failed = 0
        self.broken = False
        self.candidate = folder.with_name("candidate")
        deployment = Deployment(bundle=folder, candidate=self.candidate)
        self.watcher = Watcher(deployment, self.load, self.posted.append, self.refuse, self.misbehaves)

    def load(self, deployment: Deployment) -> Any:
        """The folder's texts stand for a bundle."""
        self.loads += 1
        assert deployment.bundle is not None
        text = "".join(path.read_text() for path in sorted(deployment.bundle.iterdir()))
        if "bad" in text:
            raise BundleError("turns.onnx is damaged")
        return text

    def refuse(self) -> None:
        self.refused += 1

    def misbehaves(self) -> str | None:
        if self.broken:
            self.looks_failed += 1
            raise OSError("no such device")
        return self.cause

    def wait(self, reached: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + 10
        while not reached():
            assert time.monotonic() < deadline_s
            time.sleep(0.002)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(watcher_module, "LOOK_S", 0.02)
    shared, folder = tmp_path / "shared", tmp_path / "bundle"
    shared.mkdir()
    folder.mkdir()
    (folder / "manifest.json").write_text("first")
    monkeypatch.setenv(FOLDER_VARIABLE, str(shared))
    made = Bench(folder)
    made.wait(lambda: any(shared.iterdir()))
    yield made
    made.watcher.close()


def test_a_folder_that_stays_as_it_is_is_not_loaded(bench: Bench) -> None:
    time.sleep(0.2)
    assert (bench.loads, bench.posted) == (0, [])


def test_another_bundle_is_loaded_once(bench: Bench) -> None:
    (bench.folder / "manifest.json").write_text("second")
    bench.wait(lambda: len(bench.posted) == 1)
    time.sleep(0.1)
    assert bench.posted == [Change(parts="second")]  # type: ignore[arg-type]


def test_a_bundle_that_is_being_copied_is_loaded_when_it_is_whole(bench: Bench) -> None:
    for number in range(20):
        (bench.folder / f"{number}.onnx").write_text("bad" if number < 19 else "")
        time.sleep(0.01)
    for number in range(20):
        (bench.folder / f"{number}.onnx").write_text("")
    bench.wait(lambda: len(bench.posted) == 1)
    assert bench.loads - bench.refused == 1


def test_a_bad_bundle_is_refused_once_and_a_good_one_taken_after_it(
    bench: Bench, vllm_log: pytest.LogCaptureFixture
) -> None:
    (bench.folder / "manifest.json").write_text("bad")
    bench.wait(lambda: bench.refused == 1)
    time.sleep(0.1)
    assert (bench.refused, bench.posted) == (1, [])
    (warning,) = [record.getMessage() for record in vllm_log.records]
    assert "turns.onnx is damaged" in warning
    (bench.folder / "manifest.json").write_text("good")
    bench.wait(lambda: len(bench.posted) == 1)


def test_a_folder_that_vanishes_changes_nothing(bench: Bench) -> None:
    (bench.folder / "manifest.json").unlink()
    bench.folder.rmdir()
    time.sleep(0.1)
    assert (bench.loads, bench.posted) == (0, [])
    bench.folder.mkdir()
    (bench.folder / "manifest.json").write_text("again")
    bench.wait(lambda: len(bench.posted) == 1)


def test_a_candidate_is_taken_as_it_lies_there_and_goes_with_its_folder(bench: Bench) -> None:
    bench.candidate.mkdir()
    (bench.candidate / "manifest.json").write_text("try me")
    bench.wait(lambda: len(bench.posted) == 1)
    assert bench.posted == [Change(candidate="try me")]  # type: ignore[arg-type]
    (bench.candidate / "manifest.json").write_text("bad")
    bench.wait(lambda: bench.refused == 1)
    assert len(bench.posted) == 1
    (bench.candidate / "manifest.json").unlink()
    bench.candidate.rmdir()
    bench.wait(lambda: len(bench.posted) == 2)
    assert bench.posted[1].retire


def test_modes_and_misbehaviour_are_posted(bench: Bench) -> None:
    ask_for("shadow")
    bench.wait(lambda: bench.posted == [Change(mode="shadow")])
    bench.cause = "its features have drifted"
    bench.wait(lambda: Change(withdraw="its features have drifted") in bench.posted)


def test_a_failing_look_is_logged_once_and_looks_go_on(bench: Bench, vllm_log: pytest.LogCaptureFixture) -> None:
    bench.broken = True
    bench.wait(lambda: bench.looks_failed > 3)
    bench.broken = False
    ask_for("off")
    bench.wait(lambda: Change(mode="off") in bench.posted)
    assert len([each for each in vllm_log.records if "cannot look" in each.getMessage()]) == 1
