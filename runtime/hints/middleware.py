"""ASGI middleware of vLLM's API server: passes facts of a request's messages and headers to the scheduler.

vLLM's scheduler never sees messages or headers. The middleware adds hints to the body's `vllm_xargs`, which vLLM hands
to the engine as `sampling_params.extra_args`. Hints are counts, hashes and the parent's session id, never text.
"""

import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from .conversation import Hint, hints_of
from .hints import MAX_NAME, PARENT

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CHAT_PATH = "/v1/chat/completions"
TEXT_PATH = "/v1/completions"
PARENT_HEADER = b"x-parent-session-id"
MAX_BODY_BYTES = 32 << 20
"""Larger bodies pass unchanged: parsing them twice costs too much."""


class AugServeMiddleware:
    """Fills `vllm_xargs` of chat completions, and of text completions that name a parent session.

    The caller's own hints are kept. Every other request, and any body that it cannot read, passes byte for byte.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"].endswith((CHAT_PATH, TEXT_PATH)):
            is_chat, parent = scope["path"].endswith(CHAT_PATH), _parent_hint(scope)
            if not is_chat and not parent:
                await self._app(scope, receive, send)
                return
            messages, body = await _read(receive)
            extended = None if body is None else with_hints(body, parent, is_chat)
            if extended is not None:
                headers = [(name, value) for name, value in scope["headers"] if name.lower() != b"content-length"]
                headers.append((b"content-length", str(len(extended)).encode()))
                scope = {**scope, "headers": headers}
                messages = [{"type": "http.request", "body": extended, "more_body": False}]
            receive = _resend(messages, receive)
        await self._app(scope, receive, send)


def _parent_hint(scope: Scope) -> dict[str, Hint]:
    """The id in the first parent header; empty without one, and for an id that `Hints.read` would ignore."""
    ids = (value.decode("latin-1") for name, value in scope["headers"] if name.lower() == PARENT_HEADER)
    parent_id = next(ids, "")
    return {PARENT: parent_id} if 0 < len(parent_id) <= MAX_NAME else {}


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


def with_hints(body: bytes, parent: dict[str, Hint], is_chat: bool) -> bytes | None:
    """The body with `parent` and, for a chat, the hints of its messages. None: nothing to add, or no such body."""
    try:
        request = json.loads(body)
        given = request.get("vllm_xargs") or {}
        merged = {**(hints_of(request) if is_chat else {}), **parent, **given}
        if merged == given:
            return None
        return json.dumps({**request, "vllm_xargs": merged}).encode()
    except Exception as error:  # noqa: BLE001 — a malformed body is the server's to answer
        logger.debug("augserve: body passed unchanged: %r", error)
        return None
