import argparse
import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from vllm.entrypoints.serve.middleware.register import init_entrypoints_middleware

from augserve.data.tables.tool_arguments import argument_facts
from augserve.runtime.hints.extension import with_hints
from augserve.runtime.hints.formats import of_chat
from augserve.runtime.hints.hints import Hints
from augserve.runtime.hints.middleware import MAX_BODY_BYTES, AugServeMiddleware
from augserve.runtime.publisher import FOLDER_VARIABLE
from augserve.runtime.refusal.notice import ExpectedWait, NoticeWriter

from ....damage import damaged

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"


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


def post(
    chunks: Iterable[bytes], path: str = CHAT, method: str = "POST", headers: Iterable[tuple[bytes, bytes]] = ()
) -> Server:
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

    sent = [(b"content-length", str(sum(map(len, chunks))).encode()), (b"x-session-id", b"s"), *headers]
    scope = {"type": "http", "method": method, "path": path, "headers": sent}
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
    given_xargs = {"augserve_tools_offered": 7, "mine": 1}
    extended = with_hints(json.dumps({**BODY, "vllm_xargs": given_xargs}).encode(), {}, {}, as_chat=of_chat)
    assert extended is not None
    xargs = json.loads(extended)["vllm_xargs"]
    assert (xargs["augserve_tools_offered"], xargs["mine"], xargs["augserve_last_tool"]) == (7, 1, ["sql"])


@pytest.mark.parametrize("path", [CHAT, TEXT])
def test_the_parent_s_session_is_a_hint(path: str) -> None:
    body = BODY if path == CHAT else {"model": "m", "prompt": [1, 2]}
    server = post([json.dumps(body).encode()], path, headers=[(b"X-Parent-Session-ID", b"parent/1")])
    received = json.loads(server.body)
    assert received.pop("vllm_xargs")["augserve_parent_session_id"] == "parent/1"
    assert received == body
    assert dict(server.scope["headers"])[b"content-length"] == str(len(server.body)).encode()


@pytest.mark.parametrize("path", [CHAT, TEXT])
def test_a_session_that_ends_with_the_request_is_a_hint(path: str) -> None:
    body = BODY if path == CHAT else {"model": "m", "prompt": [1, 2]}
    server = post([json.dumps(body).encode()], path, headers=[(b"X-Dynamo-Session-Final", b"true")])
    assert Hints.read(json.loads(server.body)["vllm_xargs"]).is_last_turn


@pytest.mark.parametrize("value", [b"", b"x" * 257])
def test_an_empty_or_oversized_parent_is_no_hint(value: bytes) -> None:
    body = b'{"model": "m", "prompt": "a"}'
    assert post([body], TEXT, headers=[(b"x-parent-session-id", value)]).body == body
    chat = post([json.dumps(BODY).encode()], headers=[(b"x-parent-session-id", value)])
    assert "augserve_parent_session_id" not in json.loads(chat.body)["vllm_xargs"]


def test_the_caller_s_own_parent_is_kept() -> None:
    body = json.dumps({"prompt": "a", "vllm_xargs": {"augserve_parent_session_id": "mine"}}).encode()
    assert post([body], TEXT, headers=[(b"x-parent-session-id", b"other")]).body == body


@pytest.mark.fuzz
@given(st.lists(st.binary(max_size=50), min_size=1, max_size=4))
def test_an_unreadable_text_completion_with_a_parent_passes_byte_for_byte(chunks: list[bytes]) -> None:
    server = post(chunks, TEXT, headers=[(b"x-parent-session-id", b"p")])
    assert server.body == b"".join(chunks)


@pytest.mark.fuzz
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


@pytest.mark.parametrize(("path", "method"), [(TEXT, "POST"), ("/health", "POST"), (CHAT, "GET")])
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


PATHS = (CHAT, TEXT, "/v1/responses", "/v1/messages", f"{CHAT}/batch")


def serve(keys: list[str], path: str, key: str | None, body: Any, **given_xargs: Any) -> tuple[int, Any, int]:
    """What vLLM's own stack of middleware answers and passes on: status, the received body, bytes read."""
    received: list[Any] = []

    async def endpoint(request: Request) -> Response:
        received.append(await request.json())
        return Response()

    app = Starlette(routes=[Route(each, endpoint, methods=["POST"]) for each in PATHS])
    arguments = argparse.Namespace(
        allowed_origins=["*"],
        allow_credentials=False,
        allowed_methods=["*"],
        allowed_headers=["*"],
        api_key=keys,
        enable_request_id_headers=True,
        middleware=["augserve.runtime.AugServeMiddleware"],
    )
    init_entrypoints_middleware(arguments, app, ("generate",))  # type: ignore[arg-type]
    sent = json.dumps({**body, "vllm_xargs": given_xargs} if given_xargs else body).encode()
    read, statuses = [0], []

    async def receive() -> Any:
        read[0] += len(sent)
        return {"type": "http.request", "body": sent, "more_body": False}

    async def send(message: Any) -> None:
        statuses.append(message.get("status"))

    headers = [(b"content-length", str(len(sent)).encode())]
    headers += [] if key is None else [(b"authorization", f"Bearer {key}".encode())]
    scope = {"type": "http", "method": "POST", "path": path, "root_path": "", "query_string": b"", "headers": headers}
    asyncio.run(app(scope, receive, send))
    return statuses[0], received[0] if received else None, read[0]


@pytest.mark.parametrize("key", [None, "wrong"])
def test_nothing_is_read_before_the_server_has_accepted_the_key(key: str | None) -> None:
    assert serve(["right"], CHAT, key, BODY) == (401, None, 0)


def test_a_request_with_the_server_s_key_gets_its_hints() -> None:
    status, received, _ = serve(["right"], CHAT, "right", {**BODY, "user": "u"}, augserve_tenant="mine")
    assert status == 200
    assert received["vllm_xargs"]["augserve_last_tool"] == ["sql"]
    assert received["vllm_xargs"]["augserve_tenant"] == "mine"  # one key names nobody


@pytest.mark.parametrize("path", PATHS)
def test_one_of_several_keys_is_the_tenant_whatever_the_caller_says(path: str) -> None:
    tenants = [
        serve(["a", "b"], path, key, BODY, **claimed)[1]["vllm_xargs"]["augserve_tenant"]
        for key in "ab"
        for claimed in ({}, {"augserve_tenant": "other"})
    ]
    assert tenants[0] == tenants[1] != tenants[2] == tenants[3]
    assert not {"a", "b", "other"} & set(tenants)


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NoticeWriter:
    """An engine whose newcomers would wait 50 s; 20 s are the limit."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    writer = NoticeWriter(tmp_path, 20.0)
    writer.tell(ExpectedWait(50.0, 0.0))
    return writer


def ask(middleware: AugServeMiddleware, body: Any, session: str | None) -> tuple[list[Any], int]:
    """The messages that a client gets, and how many it sent had been taken."""
    sent: list[Any] = []
    encoded, taken = json.dumps(body).encode(), [0]

    async def receive() -> Any:
        taken[0] += 1
        return {"type": "http.request", "body": encoded, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [] if session is None else [(b"x-session-id", session.encode())]
    asyncio.run(middleware({"type": "http", "method": "POST", "path": CHAT, "headers": headers}, receive, send))
    return sent, taken[0]


class Answering:
    """A server that stores the bodies it reads, and answers."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.bodies.append(json.loads((await receive())["body"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})


def test_a_newcomer_gets_429_and_the_server_never_sees_it(full: NoticeWriter) -> None:
    server = Answering()
    (start, body), _ = ask(AugServeMiddleware(server), BODY, "new")
    assert start["status"] == 429
    headers = dict(start["headers"])
    assert 1 <= int(headers[b"retry-after"]) <= 30
    assert json.loads(body["body"])["error"]["code"] == 429
    assert len(body["body"]) == int(headers[b"content-length"])
    assert not server.bodies


def test_a_known_session_passes_and_one_that_comes_again_tells_its_age(full: NoticeWriter) -> None:
    server = Answering()
    middleware = AugServeMiddleware(server)
    assert ask(middleware, BODY, "late")[0][0]["status"] == 429
    full.tell(ExpectedWait(0.0, 0.0))
    assert [ask(middleware, BODY, name)[0][0]["status"] for name in ("known", "late")] == [200, 200]
    full.tell(ExpectedWait(50.0, 0.0))
    assert [ask(middleware, BODY, name)[0][0]["status"] for name in ("known", "new")] == [200, 429]
    told = [Hints.read(body["vllm_xargs"]).waited for body in server.bodies]
    assert [each is None for each in told] == [True, False, True]
    secret, _, waited_s = str(told[1]).partition(":")
    assert secret == full.secret
    assert 0.0 < float(waited_s) < 60.0


def test_a_conversation_without_a_session_id_passes_once_it_is_known(full: NoticeWriter) -> None:
    middleware = AugServeMiddleware(Answering())
    first = {**BODY, "messages": BODY["messages"][:1]}
    full.tell(ExpectedWait(0.0, 0.0))
    assert ask(middleware, first, None)[0][0]["status"] == 200
    full.tell(ExpectedWait(50.0, 0.0))
    assert ask(middleware, BODY, None)[0][0]["status"] == 200
    assert ask(middleware, first, None)[0][0]["status"] == 429


TOLD = {**BODY, "session_id": "s", "user": "u", "vllm_xargs": {"augserve_tenant": "t", "session_id": "x"}}


@pytest.mark.fuzz
@given(damaged(TOLD))
def test_a_damaged_chat_reaches_the_server_with_nothing_but_hints_added(chat: Any) -> None:
    body = json.dumps(chat).encode()
    received = post([body]).body
    assert received == body or received.startswith(body[:-1])
    if received != body:
        assert Hints.read(json.loads(received)["vllm_xargs"])


@pytest.mark.fuzz
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chats=st.lists(damaged(TOLD), min_size=1, max_size=3), wait_s=st.sampled_from([0.0, 50.0]))
def test_a_damaged_chat_is_answered_or_refused(full: NoticeWriter, chats: list[Any], wait_s: float) -> None:
    full.tell(ExpectedWait(wait_s, 0.0))
    server = Answering()
    middleware = AugServeMiddleware(server)
    for chat in chats:
        assert ask(middleware, chat, None)[0][0]["status"] in (200, 429)
    assert wait_s or len(server.bodies) == len(chats)


@pytest.mark.parametrize("told", [True, False])
def test_a_body_beyond_the_limit_is_not_held_back(told: bool) -> None:
    """Neither one that tells its length nor one that comes in chunks without an end."""
    taken = [0, 0]  # chunks taken by all, and before the server was called

    async def app(scope: Any, receive: Any, send: Any) -> None:
        taken[1] = taken[0]
        for _ in range(3 * MAX_BODY_BYTES // 2**16):
            await receive()

    async def receive() -> Any:
        taken[0] += 1
        return {"type": "http.request", "body": b" " * 2**16, "more_body": True}

    async def send(_: Any) -> None: ...

    headers = [(b"content-length", str(MAX_BODY_BYTES + 1).encode())] if told else []
    scope = {"type": "http", "method": "POST", "path": CHAT, "headers": headers}
    asyncio.run(AugServeMiddleware(app)(scope, receive, send))
    assert taken[1] <= (0 if told else MAX_BODY_BYTES // 2**16 + 1)


def test_a_body_keeps_the_caller_s_text() -> None:
    text = json.dumps(BODY, indent=1, ensure_ascii=False)
    for encoded in (f"{text}\r\n ".encode(), text.encode("utf-16")):
        extended = with_hints(encoded, {}, {}, as_chat=of_chat)
        assert extended is not None
        assert extended.startswith(text[:-1].encode())
