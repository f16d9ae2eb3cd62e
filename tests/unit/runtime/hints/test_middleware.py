import asyncio
import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.data.tables.tool_arguments import argument_facts
from augserve.runtime.hints.middleware import AugServeMiddleware, with_hints

CHAT = "/v1/chat/completions"


class Server:
    """Stores the scope, the body and the message after the body."""

    def __init__(self) -> None:
        self.scope: Any = None
        self.body = b""
        self.after: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            self.body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        self.after = await receive()


def post(chunks: Iterable[bytes], path: str = CHAT, method: str = "POST") -> Server:
    server = Server()
    chunks = list(chunks)
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": chunk, "more_body": index < len(chunks) - 1}
        for index, chunk in enumerate(chunks)
    ]
    left = iter([*messages, {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(left)

    async def send(message: Any) -> None:
        raise AssertionError(message)

    headers = [(b"content-length", str(sum(map(len, chunks))).encode()), (b"x-session-id", b"s")]
    scope = {"type": "http", "method": method, "path": path, "headers": headers}
    asyncio.run(AugServeMiddleware(server)(scope, receive, send))
    return server


BODY = {
    "model": "m",
    "tools": [{}, {}],
    "messages": [
        {"role": "user", "content": "é"},
        {
            "role": "assistant",
            "tool_calls": [{"id": "1", "function": {"name": "sql", "arguments": '{"q": "SELECT 1"}'}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "1"},
    ],
}


def test_a_tool_result_adds_hints_about_its_call() -> None:
    encoded = json.dumps(BODY).encode()
    server = post([encoded[:10], encoded[10:]])
    received = json.loads(server.body)
    xargs = received.pop("vllm_xargs")
    assert received == BODY
    assert xargs.pop("augserve_argument_head") == [argument_facts({"q": "SELECT 1"}).head]
    assert xargs == {
        "augserve_tools_offered": 2,
        "augserve_last_tool": ["sql"],
        "augserve_argument_bytes": [16],
        "augserve_argument_count": [1],
        "augserve_result_bytes": [1],
    }
    assert dict(server.scope["headers"]) == {b"content-length": str(len(server.body)).encode(), b"x-session-id": b"s"}
    assert server.after == {"type": "http.disconnect"}


def test_hints_of_the_caller_are_kept() -> None:
    extended = with_hints(json.dumps({**BODY, "vllm_xargs": {"augserve_tools_offered": 7, "mine": 1}}).encode())
    assert extended is not None
    xargs = json.loads(extended)["vllm_xargs"]
    assert (xargs["augserve_tools_offered"], xargs["mine"], xargs["augserve_last_tool"]) == (7, 1, ["sql"])


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=4))
def test_a_body_that_is_not_json_passes_byte_for_byte(chunks: list[bytes]) -> None:
    server = post(chunks)
    assert server.body == b"".join(chunks)
    assert server.after == {"type": "http.disconnect"}


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "null",
        "{}",
        '{"messages": 3}',
        '{"messages": [3]}',
        '{"messages": [{"role": "tool", "tool_call_id": "1"}], "vllm_xargs": [1]}',
        '{"messages": [{"role": "assistant", "tool_calls": [{"id": 1}]}, {"role": "tool", "tool_call_id": 1}]}',
        '{"messages": ',
    ],
)
def test_a_malformed_chat_passes_byte_for_byte(body: str) -> None:
    assert post([body.encode()]).body == body.encode()


@pytest.mark.parametrize(("path", "method"), [("/v1/completions", "POST"), ("/health", "POST"), (CHAT, "GET")])
def test_other_requests_pass_unchanged(path: str, method: str) -> None:
    body = json.dumps(BODY).encode()
    server = post([body], path, method)
    assert server.body == body


def test_a_broken_connection_reaches_the_server() -> None:
    server = Server()

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None: ...

    asyncio.run(
        AugServeMiddleware(server)({"type": "http", "method": "POST", "path": CHAT, "headers": []}, receive, send)
    )
    assert server.body == b""


def test_other_protocols_pass() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    async def nothing(*_: Any) -> Any: ...

    asyncio.run(AugServeMiddleware(app)({"type": "lifespan"}, nothing, nothing))
    assert seen == ["lifespan"]
