"""Pull from a real MLflow store in a file; tests/browser/test_versions.py pulls from a real server."""

import contextlib
import http.server
import json
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, given, settings

from augserve.models.registry.pull import pull
from augserve.models.registry.source import Registry, without_credentials
from augserve.models.registry.versions import RegistryError, Version, promote, register, resolve
from augserve.models.serving.bundle import BundleError, load_bundle
from augserve.models.serving.trust import Trust

from ....damage import damaged

TOKEN, USER, PASSWORD = "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"


@pytest.fixture
def uri(mlflow_database: Path, good_bundle: Path, tmp_path: Path) -> str:
    """A registry whose only version, the champion, is the good bundle."""
    uri = f"sqlite:///{shutil.copy(mlflow_database, tmp_path / 'mlflow.db')}"
    client = Registry(uri).client
    artifacts = Path(shutil.copytree(good_bundle, tmp_path / "artifacts"))
    run = client.create_run(client.create_experiment("evaluation"))
    promote(client, register(client, load_bundle(artifacts, None).version, run.info.run_id, artifacts.as_uri(), {}))
    return uri


def refuse(uri: str, folder: Path, message: str, wanted: str = "champion") -> None:
    before = sorted(folder.rglob("*")) if folder.is_dir() else folder.exists()
    with pytest.raises((BundleError, RegistryError), match=message) as caught:
        pull(Registry(uri), wanted, folder)
    assert "\n" not in str(caught.value)
    assert (sorted(folder.rglob("*")) if folder.is_dir() else folder.exists()) == before
    assert [entry for entry in folder.parent.iterdir() if entry.name.startswith(f".{folder.name}")] == []


def test_pull_replaces_an_older_bundle_with_a_complete_one(uri: str, good_bundle: Path, tmp_path: Path) -> None:
    for _ in range(2):
        version, bundle = pull(Registry(uri), "champion", tmp_path / "here" / "bundle")
        assert (version.number, bundle.version) == (1, load_bundle(good_bundle, None).version)
        for path in good_bundle.iterdir():
            assert (bundle.path / path.name).read_bytes() == path.read_bytes()


def test_a_folder_that_has_the_bundle_is_left_as_it_is_unless_it_is_damaged(uri: str, tmp_path: Path) -> None:
    _, bundle = pull(Registry(uri), "champion", tmp_path / "out")
    model = bundle.path / "turns.onnx"
    before = model.stat().st_ino
    pull(Registry(uri), "champion", tmp_path / "out")
    assert model.stat().st_ino == before
    model.write_bytes(b"damaged")
    assert pull(Registry(uri), "champion", tmp_path / "out")[1].version == bundle.version


def test_a_bundle_that_the_server_would_refuse_is_not_put_there(uri: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="signed"):
        pull(Registry(uri), "champion", tmp_path / "out", Trust(public_key=32 * "1e"))
    with pytest.raises(BundleError, match=r"here runs 99\.0"):
        pull(Registry(uri), "champion", tmp_path / "out", vllm_version="99.0")
    assert not (tmp_path / "out").exists()


def test_pull_refuses_a_folder_with_other_files(uri: str, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").touch()
    refuse(uri, tmp_path / "precious", "precious")
    refuse(uri, tmp_path / "precious" / "thesis.txt", r"thesis\.txt")
    (tmp_path / "empty").mkdir()
    pull(Registry(uri), "1", tmp_path / "empty")


@pytest.mark.parametrize(
    "manifest", ['{"name": "a web app"}', "no JSON", '{"format": 2, "files": 7, "checksum": "", "features": {}}', None]
)
def test_a_folder_with_another_kind_of_manifest_keeps_its_files(uri: str, tmp_path: Path, manifest: str | None) -> None:
    folder = tmp_path / "webapp"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "main.py").touch()
    if manifest is None:
        (folder / "manifest.json").mkdir()
    else:
        (folder / "manifest.json").write_text(manifest)
    refuse(uri, folder, "not a bundle")


def test_a_bundle_beside_other_files_is_not_replaced(uri: str, tmp_path: Path) -> None:
    pull(Registry(uri), "champion", tmp_path / "out")
    (tmp_path / "out" / "thesis.txt").touch()
    refuse(uri, tmp_path / "out", "not a bundle alone")


def test_an_older_format_is_replaced(uri: str, tmp_path: Path) -> None:
    pull(Registry(uri), "champion", tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    (tmp_path / "out" / "manifest.json").write_text(json.dumps(manifest | {"format": 1}))
    pull(Registry(uri), "champion", tmp_path / "out")


def test_missing_champion_and_unknown_version_are_refused(uri: str, tmp_path: Path) -> None:
    refuse(uri, tmp_path / "out", "17", wanted="17")
    Registry(uri).client.delete_registered_model_alias("augserve-scheduler", "champion")
    refuse(uri, tmp_path / "out", "champion")


def test_empty_registry_is_refused_with_a_remedy(mlflow_database: Path, tmp_path: Path) -> None:
    refuse(f"sqlite:///{mlflow_database}", tmp_path / "out", "no version yet")


def test_error_names_the_damaged_file(uri: str, tmp_path: Path) -> None:
    damaged = tmp_path / "artifacts" / "turns.onnx"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    refuse(uri, tmp_path / "out", r"^version 1 of augserve-scheduler: turns\.onnx is damaged")
    damaged.unlink()
    refuse(uri, tmp_path / "out", r"^version 1 of augserve-scheduler: turns\.onnx cannot be fetched")


def test_newer_format_is_refused_before_its_files_are_fetched(uri: str, tmp_path: Path) -> None:
    (tmp_path / "artifacts" / "manifest.json").write_text(json.dumps({"format": 99}))
    (tmp_path / "artifacts" / "turns.onnx").unlink()
    refuse(uri, tmp_path / "out", r"^version 1 of augserve-scheduler: manifest\.json: format 99")


def test_refused_bundle_keeps_the_older_one(uri: str, tmp_path: Path) -> None:
    _, kept = pull(Registry(uri), "champion", tmp_path / "out")
    newer = replace(kept.manifest, created="2026-11-24T00:00:00+00:00")
    (tmp_path / "artifacts" / "manifest.json").write_bytes(newer.render())
    (tmp_path / "artifacts" / "scheduler.json").write_text("{}")
    refuse(uri, tmp_path / "out", r"scheduler\.json is damaged")
    assert load_bundle(tmp_path / "out", None).version == kept.version


def test_unreachable_registry_raises_a_one_line_error(tmp_path: Path) -> None:
    refuse(f"sqlite:///{tmp_path}/none.db", tmp_path / "out", "no such file")
    refuse("http://127.0.0.1:9/", tmp_path / "out", r"http://127\.0\.0\.1:9: cannot be read")
    (tmp_path / "text.db").write_text("no database, but a text that is long enough to be taken for one" * 50)
    refuse(f"sqlite:///{tmp_path}/text.db", tmp_path / "out", "cannot be read")
    refuse("nonsense://here", tmp_path / "out", "cannot be read")


@pytest.fixture
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    """A web server with prepared `answers` by the start of the path. It records the requests in `asked`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append((self.path, self.headers.get("Authorization")))
            answers = (answer for head, answer in served.answers.items() if self.path.startswith(head))
            status, body = next(answers, (404, b""))
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", body.decode())
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Log nothing."""

    class Server(http.server.ThreadingHTTPServer):
        answers: ClassVar[dict[str, tuple[int, bytes]]] = {}
        asked: ClassVar[list[tuple[str, str | None]]] = []

    with Server(("127.0.0.1", 0), Handler) as served:
        threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield served
        served.shutdown()


def url_of(server) -> str:
    return f"http://127.0.0.1:{server.server_port}"


@pytest.mark.parametrize(("status", "body"), [(404, b""), (401, b""), (200, b"<html>"), (200, b"[]")])
def test_server_error_raises_a_one_line_error(server, tmp_path, status, body) -> None:
    server.answers["/"] = (status, body)
    refuse(url_of(server), tmp_path / "out", f"{url_of(server)}.*cannot be read")


def test_server_without_versions_is_refused(server, tmp_path) -> None:
    server.answers["/"] = (200, b"{}")
    refuse(url_of(server), tmp_path / "out", "no version")


def test_a_redirect_is_refused_and_takes_the_token_nowhere(server, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(TOKEN, "very-secret")
    server.answers["/elsewhere"] = (200, b"{}")
    server.answers["/"] = (302, f"http://localhost:{server.server_port}/elsewhere".encode())
    refuse(url_of(server), tmp_path / "out", "302")
    version = Version(3, "", (), datetime.now(UTC), "", "", "file:///only/on/the/server", {})
    with pytest.raises(RegistryError, match="302"):
        Registry(url_of(server)).read(version, "scheduler.json")
    assert not any(path.startswith("/elsewhere") for path, _ in server.asked)


@pytest.mark.parametrize("route", ["/api/", "/model-versions/"])
def test_an_endless_answer_is_refused(server, tmp_path, monkeypatch, route) -> None:
    monkeypatch.setattr("augserve.models.registry.server.MAX_BYTES", 300_000)
    server.answers[route] = (200, b" " * 3_000_000)
    version = Version(3, "", (), datetime.now(UTC), "", "", "file:///only/on/the/server", {})
    registry = Registry(url_of(server))
    with pytest.raises(RegistryError, match="more than 300000 bytes"):
        registry.versions() if route == "/api/" else registry.read(version, "scheduler.json")


@pytest.mark.parametrize("length", [b"Content-Length: 1000000\r\n", b""])
def test_an_answer_that_trickles_is_refused(monkeypatch, length) -> None:
    """A byte every twentieth of a second: no read of the socket takes long."""
    monkeypatch.setattr("augserve.models.registry.server.LIMIT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def trickle() -> None:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n")
                for _ in range(400):
                    connection.sendall(b" ")
                    time.sleep(0.05)

        threading.Thread(target=trickle, daemon=True).start()
        start_s = time.monotonic()
        with pytest.raises(RegistryError, match="takes more than"):
            Registry(f"http://127.0.0.1:{listening.getsockname()[1]}").versions()
        assert time.monotonic() - start_s < 5.0


def test_another_host_without_tls_needs_a_flag() -> None:
    with pytest.raises(RegistryError, match="TLS") as error:
        Registry("http://me:secret@training-host:5000")
    assert "secret" not in str(error.value)
    Registry("http://training-host:5000", plain_http=True)
    Registry("https://training-host")
    Registry("http://localhost:5000")


def test_versions_of_a_server_are_read_page_by_page(server) -> None:
    aliases = [{"alias": "champion", "version": "2"}]
    models = {"registered_models": [{"name": "augserve-scheduler", "aliases": aliases}]}
    pages = [
        {
            "model_versions": [
                {
                    "version": str(number),
                    "creation_timestamp": "1700000000000",
                    "run_id": "r",
                    "tags": [{"key": "augserve.bundle", "value": f"b{number}"}],
                }
            ],
            "next_page_token": token,
        }
        for number, token in ((2, "next"), (1, ""))
    ]
    server.answers["/api/2.0/mlflow/registered-models/search"] = (200, json.dumps(models).encode())
    search = "/api/2.0/mlflow/model-versions/search"
    server.answers[f"{search}?filter=name+%3D+%27augserve-scheduler%27&page_token=next"] = (
        200,
        json.dumps(pages[1]).encode(),
    )
    server.answers[search] = (200, json.dumps(pages[0]).encode())
    versions = Registry(url_of(server)).versions()
    assert [(each.number, each.bundle, each.aliases) for each in versions] == [(1, "b1", ()), (2, "b2", ("champion",))]


def test_missing_mlflow_client_error_names_the_extra(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    refuse("http://127.0.0.1:9", tmp_path / "out", r"augserve\[registry\]")


def test_credentials_are_removed_from_a_uri() -> None:
    assert without_credentials("postgresql://me:secret@db/x") == "postgresql://db/x"


@pytest.mark.parametrize(
    ("variables", "sent"),
    [({}, None), ({TOKEN: "abc"}, "Bearer abc"), ({USER: "me", PASSWORD: "secret"}, "Basic bWU6c2VjcmV0")],
)
def test_request_to_a_server_uses_mlflows_credentials(server, monkeypatch, variables, sent) -> None:
    for name in (TOKEN, USER, PASSWORD):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    server.answers["/model-versions/get-artifact?"] = (200, b"settings")
    version = Version(3, "", (), datetime.now(UTC), "", "", "file:///only/on/the/server", {})
    assert Registry(url_of(server)).read(version, "scheduler.json") == b"settings"
    path = "/model-versions/get-artifact?name=augserve-scheduler&version=3&path=scheduler.json"
    assert server.asked[-1] == (path, sent)


VERSION = {"version": "3", "creation_timestamp": 1_700_000_000_000, "description": "", "run_id": "r", "source": "s"}
VERSIONS = {"model_versions": [{**VERSION, "tags": [{"key": "bundle", "value": "b"}]}], "next_page_token": ""}
MODELS = {"registered_models": [{"aliases": [{"alias": "champion", "version": "3"}]}]}


@pytest.mark.fuzz
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(models=damaged(MODELS), versions=damaged(VERSIONS))
def test_a_damaged_answer_is_an_error_of_the_registry_or_read(server, models, versions) -> None:
    server.answers["/api/2.0/mlflow/registered-models"] = (200, json.dumps(models).encode())
    server.answers["/api/2.0/mlflow/model-versions"] = (200, json.dumps(versions).encode())
    with contextlib.suppress(RegistryError):
        resolve(Registry(url_of(server)).versions(), "champion")
