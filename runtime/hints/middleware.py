"""ASGI middleware of vLLM's API server: passes facts of a request's messages and headers to the scheduler.

vLLM's scheduler never sees messages or headers. The middleware adds hints to the body's `vllm_xargs`, which vLLM hands
to the engine as `sampling_params.extra_args`. Hints are counts, hashes and the parent's session id, never text.

vLLM checks API keys further inside. So a request without a key that the server accepts passes before anything of it is
read, and the server refuses it.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from .api_keys import ApiKeys
from .conversation import Hint, digest
from .extension import with_hints
from .hints import MAX_NAME, PARENT, TENANT

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CHAT_PATH = "/v1/chat/completions"
PATHS = (CHAT_PATH, f"{CHAT_PATH}/batch", "/v1/completions", "/v1/responses", "/v1/messages")
"""Requests that may have `vllm_xargs`."""
PARENT_HEADER = b"x-parent-session-id"
MAX_BODY_BYTES = 2 << 20
"""Larger bodies pass unchanged, for they are parsed in the server's event loop."""


class AugServeMiddleware:
    """Fills `vllm_xargs` of chat completions, and of other completions that name a parent or bear one of several keys.

    A tenant is an API key, where the server has several. Otherwise it is the caller's `safety_identifier` or `user`.
    The caller's own hints are kept, but for its tenant where a key names it. Every other request, and any body that the
    middleware cannot read, passes byte for byte.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._keys: ApiKeys | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"].endswith(PATHS):
            keys = self._keys = self._keys or ApiKeys(scope)
            if keys.accept(scope) and _length(scope) <= MAX_BODY_BYTES:
                is_chat = scope["path"].endswith(CHAT_PATH)
                told, ordered = _parent_hint(scope), _tenant_hint(scope) if keys.several else {}
                if is_chat or told or ordered:
                    scope, receive = await _extended(scope, receive, told, ordered, is_chat)
        await self._app(scope, receive, send)


def _header(scope: Scope, wanted: bytes) -> str:
    """The first header of this name, empty without one."""
    return next((value.decode("latin-1") for name, value in scope["headers"] if name.lower() == wanted), "")


def _length(scope: Scope) -> int:
    """Bytes of the body as its header tells them, 0 if it does not."""
    length = _header(scope, b"content-length")
    return int(length) if length.isdecimal() and len(length) < 20 else 0


def _parent_hint(scope: Scope) -> dict[str, Hint]:
    """The id in the first parent header; empty without one, and for an id that `Hints.read` would ignore."""
    parent_id = _header(scope, PARENT_HEADER)
    return {PARENT: parent_id} if 0 < len(parent_id) <= MAX_NAME else {}


def _tenant_hint(scope: Scope) -> dict[str, Hint]:
    """The tenant that an accepted request's key names."""
    return {TENANT: digest(_header(scope, b"authorization").partition(" ")[2])}


async def _extended(
    scope: Scope, receive: Receive, told: dict[str, Hint], ordered: dict[str, Hint], is_chat: bool
) -> tuple[Scope, Receive]:
    """The request with its hints, see `with_hints`; as it was where there is nothing to add."""
    messages, body = await _read(receive)
    extended = None if body is None else with_hints(body, told, ordered, is_chat)
    if extended is not None:
        headers = [(name, value) for name, value in scope["headers"] if name.lower() != b"content-length"]
        headers.append((b"content-length", str(len(extended)).encode()))
        scope = {**scope, "headers": headers}
        messages = [{"type": "http.request", "body": extended, "more_body": False}]
    return scope, _resend(messages, receive)


async def _read(receive: Receive) -> tuple[list[Message], bytes | None]:
    """The body's messages as received, and the body: None if it is too large or breaks off."""
    messages: list[Message] = []
    size = 0
    while True:
        message = await receive()
        messages.append(message)
        if message["type"] != "http.request":
            return messages, None
        size += len(message.get("body", b""))
        if size > MAX_BODY_BYTES:
            return messages, None
        if not message.get("more_body", False):
            return messages, b"".join(message.get("body", b"") for message in messages)


def _resend(messages: list[Message], receive: Receive) -> Receive:
    """A `receive` that returns `messages` first."""
    remaining = iter(messages)

    async def resend() -> Message:
        for message in remaining:
            return message
        return await receive()

    return resend
