"""ASGI middleware of the API server: tells the scheduler what a chat request says about its tools.

vLLM's scheduler never sees messages. What it may learn travels in the body's `vllm_xargs`, which vLLM hands to the
engine as `sampling_params.extra_args`. Text does not travel: conversation.py makes counts and hashes of it.
"""

import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from .conversation import hints_of

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

PATH = "/v1/chat/completions"
MAX_BODY_BYTES = 32 << 20
"""A larger body passes untouched: it is not worth parsing twice."""


class AugServeMiddleware:
    """Fills `vllm_xargs` of chat completions; every other request, and any body that it cannot read, passes
    byte-identical. Hints that the caller gave are kept."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].endswith(PATH):
            await self._app(scope, receive, send)
            return
        messages, body = await _read(receive)
        if body is None:
            await self._app(scope, _replay(messages, receive), send)
            return
        extended = with_hints(body)
        if extended is None:
            await self._app(scope, _replay(messages, receive), send)
            return
        headers = [(name, value) for name, value in scope["headers"] if name.lower() != b"content-length"]
        headers.append((b"content-length", str(len(extended)).encode()))
        whole: Message = {"type": "http.request", "body": extended, "more_body": False}
        await self._app({**scope, "headers": headers}, _replay([whole], receive), send)


async def _read(receive: Receive) -> tuple[list[Message], bytes | None]:
    """The messages of the body as received, and the body; None where it is too large or breaks off."""
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


def _replay(messages: list[Message], receive: Receive) -> Receive:
    """A `receive` that gives `messages` first."""
    left = iter(messages)

    async def replayed() -> Message:
        for message in left:
            return message
        return await receive()

    return replayed


def with_hints(body: bytes) -> bytes | None:
    """The body with hints added, None where there is nothing to add or it is no chat-completions body."""
    try:
        request = json.loads(body)
        hints = hints_of(request)
        given = request.get("vllm_xargs") or {}
        merged = {**hints, **given}
        if merged == given:
            return None
        return json.dumps({**request, "vllm_xargs": merged}).encode()
    except Exception as error:  # noqa: BLE001 — whatever a caller sends, it is the server that answers
        logger.debug("augserve: body passed untouched: %r", error)
        return None
