"""From a real MLflow store in a file; from a real server: tests/integration/test_registry_server.py."""

import http.server
import json
import shutil
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from augserve.models.registry.pull import pull
from augserve.models.registry.source import open_client, open_source, shown
from augserve.models.registry.versions import RegistryError, promote, register
from augserve.models.serving.bundle import BundleError, load_bundle


@pytest.fixture
def uri(mlflow_database: Path, good_bundle: Path, tmp_path: Path) -> str:
    """A registry whose only version, the champion, is the good bundle."""
    uri = f"sqlite:///{shutil.copy(mlflow_database, tmp_path / 'mlflow.db')}"
    client = open_client(uri)
    artifacts = Path(shutil.copytree(good_bundle, tmp_path / "artifacts"))
    run = client.create_run(client.create_experiment("evaluation"))
    promote(client, register(client, load_bundle(artifacts, None).version, run.info.run_id, artifacts.as_uri(), {}))
    return uri


def refuse(uri: str, folder: Path, message: str, wanted: str = "champion") -> None:
    before = sorted(folder.rglob("*")) if folder.is_dir() else folder.exists()
    with pytest.raises((BundleError, RegistryError), match=message) as caught:
        pull(open_source(uri), wanted, folder)
    assert "\n" not in str(caught.value)
    assert (sorted(folder.rglob("*")) if folder.is_dir() else folder.exists()) == before
    assert [entry for entry in folder.parent.iterdir() if entry.name.startswith(f".{folder.name}")] == []


def test_the_champion_comes_whole_and_an_older_bundle_gives_way(uri: str, good_bundle: Path, tmp_path: Path) -> None:
    for _ in range(2):
        version, bundle = pull(open_source(uri), "champion", tmp_path / "here" / "bundle")
        assert (version.number, bundle.version) == (1, load_bundle(good_bundle, None).version)
        for path in good_bundle.iterdir():
            assert (bundle.path / path.name).read_bytes() == path.read_bytes()


def test_a_folder_with_anything_else_in_it_is_left_alone(uri: str, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").touch()
    refuse(uri, tmp_path / "precious", "holds something else than a bundle; name an empty or a new folder")
    refuse(uri, tmp_path / "precious" / "thesis.txt", "is a file; name a folder")
    (tmp_path / "empty").mkdir()
    pull(open_source(uri), "1", tmp_path / "empty")


def test_a_registry_without_a_champion_and_an_unknown_version(uri: str, tmp_path: Path) -> None:
    refuse(uri, tmp_path / "out", r"no version '17'; the last are 1$", wanted="17")
    open_client(uri).delete_registered_model_alias("augserve-scheduler", "champion")
    refuse(uri, tmp_path / "out", "no version is its champion; name one, or make one the champion with")


def test_an_empty_registry_says_what_to_run(mlflow_database: Path, tmp_path: Path) -> None:
    refuse(f"sqlite:///{mlflow_database}", tmp_path / "out", "no version yet; run `dvc repro package`")


def test_a_damaged_bundle_is_refused_and_its_file_named(uri: str, tmp_path: Path) -> None:
    damaged = tmp_path / "artifacts" / "turns.onnx"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    refuse(uri, tmp_path / "out", r"^version 1 of augserve-scheduler: turns\.onnx is damaged")
    damaged.unlink()
    refuse(uri, tmp_path / "out", r"^version 1 of augserve-scheduler: turns\.onnx cannot be fetched")


def test_a_bundle_of_a_newer_format_is_refused_whatever_files_it_has(uri: str, tmp_path: Path) -> None:
    (tmp_path / "artifacts" / "manifest.json").write_text(json.dumps({"format": 99}))
    (tmp_path / "artifacts" / "turns.onnx").unlink()
    refuse(uri, tmp_path / "out", r"^version 1 of augserve-scheduler: manifest\.json: format 99")


def test_a_refused_bundle_leaves_the_older_one_in_place(uri: str, tmp_path: Path) -> None:
    _, kept = pull(open_source(uri), "champion", tmp_path / "out")
    (tmp_path / "artifacts" / "scheduler.json").write_text("{}")
    refuse(uri, tmp_path / "out", r"scheduler\.json is damaged")
    assert load_bundle(tmp_path / "out", None).version == kept.version


def test_an_unreachable_registry_is_one_clear_line(tmp_path: Path) -> None:
    refuse(f"sqlite:///{tmp_path}/none.db", tmp_path / "out", "no such file; run `dvc repro package`")
    refuse("http://127.0.0.1:9/", tmp_path / "out", r"http://127\.0\.0\.1:9: cannot be reached \(.*refused\); start it")
    (tmp_path / "text.db").write_text("no database, but a text that is long enough to be taken for one" * 50)
    refuse(f"sqlite:///{tmp_path}/text.db", tmp_path / "out", "cannot be read")
    refuse("nonsense://here", tmp_path / "out", "cannot be read")


@pytest.fixture
def asked() -> list[str | None]:
    """The `Authorization` of each request to `answers`."""
    return []


@pytest.fixture
def answers(asked: list[str | None]) -> Iterator[tuple[str, dict[str, tuple[int, bytes]]]]:
    """A web server, and what it answers by the head of the path."""
    table: dict[str, tuple[int, bytes]] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers.get("Authorization"))
            status, body = next((answer for head, answer in table.items() if self.path.startswith(head)), (404, b""))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Silent."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", table
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (404, b"", "Not Found; is it an MLflow server"),
        (401, b"", "Unauthorized; .*MLFLOW_TRACKING_TOKEN"),
        (200, b"<html>", "answers otherwise than an MLflow server"),
        (200, b"[]", "answers otherwise than an MLflow server"),
        (200, b'{"registered_models": [{"aliases": [1]}]}', "answers otherwise than an MLflow server"),
        (200, b"{}", "no version yet"),
    ],
)
def test_a_server_that_is_no_open_mlflow_is_one_clear_line(answers, tmp_path, status, body, message) -> None:
    url, table = answers
    table["/"] = (status, body)
    refuse(url, tmp_path / "out", message)


def test_a_name_and_password_in_an_address_are_never_shown() -> None:
    assert shown("postgresql://me:secret@db/x") == "postgresql://db/x"


def test_versions_of_a_server_are_read_to_the_last_page(answers) -> None:
    url, table = answers
    path = "/api/2.0/mlflow/model-versions/search?"
    query = {"filter": "name = 'augserve-scheduler'", "max_results": "1000"}
    first = {"model_versions": [{"version": "2", "creation_timestamp": 0}], "next_page_token": "more"}
    last = {"model_versions": [{"version": "1", "creation_timestamp": 0}]}
    table[path + urllib.parse.urlencode(query | {"page_token": "more"})] = (200, json.dumps(last).encode())
    table[path] = (200, json.dumps(first).encode())
    table["/"] = (200, b"{}")  # no registered model has an alias
    assert [version.number for version in open_source(url).versions()] == [1, 2]


TOKEN, USER, PASSWORD = "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"


@pytest.mark.parametrize(
    ("variables", "sent"),
    [
        ({}, None),
        ({TOKEN: "abc"}, "Bearer abc"),
        ({USER: "me", PASSWORD: "secret"}, "Basic bWU6c2VjcmV0"),
        ({TOKEN: "abc", USER: "me"}, "Bearer abc"),
    ],
)
def test_a_server_is_asked_with_mlflow_s_own_credentials(answers, asked, monkeypatch, variables, sent) -> None:
    for name in (TOKEN, USER, PASSWORD):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    url, table = answers
    table["/"] = (200, b"{}")
    open_source(url).versions()
    assert set(asked) == {sent}
