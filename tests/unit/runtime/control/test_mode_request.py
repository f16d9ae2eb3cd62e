import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from vllm.entrypoints.serve.middleware.authenticate import AuthenticationMiddleware

from augserve.runtime.control.mode_file import asked_mode, listening
from augserve.runtime.control.mode_request import PATH
from augserve.runtime.hints.middleware import AugServeMiddleware
from augserve.runtime.publisher import FOLDER_VARIABLE


def post(body: bytes, keys: list[str], key: str | None, root: str = "") -> tuple[int, dict[str, str]]:
    """Status and content of the answer of a server with these API keys."""
    server = Starlette()
    if keys:
        server.add_middleware(AuthenticationMiddleware, tokens=keys)
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [] if key is None else [(b"authorization", f"Bearer {key}".encode())]
    scope = {
        "type": "http",
        "method": "POST",
        "path": root + PATH,
        "root_path": root,
        "headers": headers,
        "app": server,
    }
    asyncio.run(AugServeMiddleware(server)(scope, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    return tmp_path


SHADOW = b'{"mode": "shadow"}'


@pytest.mark.parametrize("root", ["", "/prefix"])
def test_the_first_key_changes_the_mode(folder: Path, root: str) -> None:
    with listening(folder):
        status, content = post(SHADOW, ["operator", "caller"], "operator", root)
        assert (status, content["mode"]) == (202, "shadow")
        assert asked_mode(folder) == "shadow"


@pytest.mark.parametrize(
    ("keys", "key", "status"),
    [(["operator", "caller"], "caller", 401), (["operator"], "other", 401), (["operator"], None, 401), ([], None, 403)],
)
def test_nobody_else_changes_the_mode(folder: Path, keys: list[str], key: str | None, status: int) -> None:
    with listening(folder):
        answered, content = post(SHADOW, keys, key)
    assert answered == status
    assert "\n" not in content["error"]
    assert asked_mode(folder) is None


@pytest.mark.parametrize("body", [b"", b"shadow", b"[]", b'{"mode": "observe"}', b'{"mode": "' + 5000 * b"x" + b'"}'])
def test_a_body_without_a_mode_is_refused(folder: Path, body: bytes) -> None:
    with listening(folder):
        assert post(body, ["operator"], "operator")[0] == 400
    assert asked_mode(folder) is None


def test_a_server_whose_engines_do_not_listen_says_so(folder: Path) -> None:
    status, content = post(SHADOW, ["operator"], "operator")
    assert status == 400
    assert "no engine" in content["error"]
