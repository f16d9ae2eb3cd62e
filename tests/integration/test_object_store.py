"""A real object store: imports from it, results of cells in it, and a remote of DVC on it.

The tests are skipped where `moto` or the extra `scale` is not installed.
"""

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from augserve.data.importers.reading.problems import ImportingError
from augserve.data.importers.run import import_traces
from augserve.data.tables.files import read_table
from augserve.pipeline.project.stage import StageError
from augserve.pipeline.simulator.cells.store import CellStore

moto_server = pytest.importorskip("moto.server")
s3fs = pytest.importorskip("s3fs")
pytestmark = pytest.mark.slow

LINES = "".join(
    json.dumps({"timestamp": 1000 * at, "input_length": 100, "output_length": 5, "hash_ids": [at]}) + "\n"
    for at in range(20)
)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = moto_server.ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def store(address: str, monkeypatch: pytest.MonkeyPatch) -> "s3fs.S3FileSystem":
    """The store with the bucket `traces`, which this process and its children may use."""
    for name, value in (
        ("AWS_ENDPOINT_URL", address),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem()
    if not files.exists("traces"):
        files.mkdir("traces")
    return files


def test_traces_are_imported_from_a_store(store: "s3fs.S3FileSystem", tmp_path: Path) -> None:
    store.pipe_file("traces/day/one.jsonl", LINES.encode())
    store.pipe_file("traces/day/notes.txt", b"")
    summary = import_traces("mooncake", ["s3://traces/day"], tmp_path / "out")
    assert summary.turns == 20
    assert summary.left_out == {"files that are none of .jsonl": 1}


def test_own_recordings_of_many_engines_are_one_set(store: "s3fs.S3FileSystem", tmp_path: Path) -> None:
    (tmp_path / "raw.jsonl").write_text(LINES)
    import_traces("mooncake", [tmp_path / "raw.jsonl"], tmp_path / "one")
    for engine in ("a", "b"):
        store.put(str(tmp_path / "one"), f"traces/{engine}", recursive=True)
    summary = import_traces("augserve", ["s3://traces/a", "s3://traces/b"], tmp_path / "both")
    assert read_table(tmp_path / "both", "turns").num_rows == 20
    assert summary.skipped == {"duplicate session and turn": 20}


def test_results_of_cells_are_kept_in_a_store(store: "s3fs.S3FileSystem") -> None:
    CellStore("s3://traces/cells").write("one.json", "{}")
    assert CellStore("s3://traces/cells").read("one.json") == "{}"
    with pytest.raises(OSError):
        CellStore("s3://traces/cells").read("two.json")


@pytest.mark.parametrize("use", [CellStore, lambda url: import_traces("mooncake", [url], Path("never"))])
def test_a_store_without_rights_is_one_line(
    store: "s3fs.S3FileSystem", monkeypatch: pytest.MonkeyPatch, use: Callable[[str], object]
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "of-nobody")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises((StageError, ImportingError), match=r"s3://traces/a.*your rights to it") as error:
        use("s3://traces/a")
    assert "\n" not in str(error.value)


def test_a_result_that_cannot_be_kept_is_logged(store: "s3fs.S3FileSystem", caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        CellStore("s3://no-such-bucket/cells").write("one.json", "{}")
    assert "s3://no-such-bucket/cells: a result is not kept: FileNotFoundError" in caplog.text


def test_a_remote_of_dvc_holds_the_data(
    store: "s3fs.S3FileSystem", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dvc_s3")
    from dvc.repo import Repo

    monkeypatch.chdir(tmp_path)
    Path("traces").mkdir()
    Path("traces/turns.csv").write_text("turn\n1\n")
    repository = Repo.init(no_scm=True)
    with repository.config.edit() as settings:
        settings["remote"]["store"] = {"url": "s3://traces/dvc"}
        settings["core"]["remote"] = "store"
    repository.add("traces")
    assert repository.push() == 2  # the file, and the list of the folder
    for path in ("traces", ".dvc/cache"):
        shutil.rmtree(path)
    repository.pull()
    assert Path("traces/turns.csv").read_text() == "turn\n1\n"
