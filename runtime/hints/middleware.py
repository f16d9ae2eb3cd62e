"""ASGI middleware of vLLM's API server: passes facts of a request's messages and headers to the scheduler.

vLLM's scheduler never sees messages or headers. The middleware adds hints to the body's `vllm_xargs`, which vLLM hands
to the engine as `sampling_params.extra_args`. Hints are counts, hashes and the parent's session id, never text.

vLLM checks API keys further inside. So a request without a key that the server accepts passes before anything of it is
read, and the server refuses it.

Where the engine tells how long a newcomer would wait (`refuse_after_s`), the middleware refuses those that would wait
too long, see ../refusal.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import partial
from typing import Any

from ..control.mode_request import MAX_BODY_BYTES as MAX_MODE_BYTES
from ..control.mode_request import PATH as MODE_PATH
from ..control.mode_request import answer, mode_answer
from ..refusal.answer import RefusedCount, refuse
from ..refusal.callers import caller_of
from ..refusal.gate import Gate, Refused
from ..refusal.notice import Notice, NoticeReader
from ..routing.ranks import RANK_HEADER, Ranks
from .api_keys import ApiKeys
from .conversation import Hint, digest
from .extension import with_hints
from .formats import FORMATS
from .hints import LAST_STEP, PARENT, TENANT, WAITED
from .identity import SESSION_HEADER, Harness, Identity, identity_of, own_harnesses

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CHAT_PATH = "/v1/chat/completions"
RESPONSES_PATH = "/v1/responses"
PATHS = (CHAT_PATH, f"{CHAT_PATH}/batch", "/v1/completions", RESPONSES_PATH, "/v1/messages")
"""Requests that may have `vllm_xargs`."""
MAX_BODY_BYTES = 2 << 20
"""Larger bodies pass unchanged, for they are parsed in the server's event loop."""


class AugServeMiddleware:
    """Fills `vllm_xargs` of chats in all formats, and of completions that name a parent or bear one of several keys.

    A session that a header names, see identity.py, reaches vLLM as `X-Session-ID`. Under vLLM's data parallelism it
    stays on one engine, see ../routing.

    A tenant is an API key, where the server has several. Otherwise it is the caller's `safety_identifier` or `user`.
    The caller's own hints are kept, but for its tenant where a key names it. Every other request, and any body that the
    middleware cannot read, passes byte for byte. Only `refuse_after_s` keeps a request from the server, and
    `POST /augserve/mode` is answered here.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._keys: ApiKeys | None = None
        self._harnesses: tuple[Harness, ...] = ()
        self._ranks: Ranks | None = None
        self._notices = NoticeReader()
        self._gate = Gate()
        self._refused = RefusedCount()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"].endswith((MODE_PATH, *PATHS)):
            if self._keys is None:
                self._keys, self._harnesses, self._ranks = ApiKeys(scope), own_harnesses(scope), Ranks(scope)
            keys = self._keys
            if scope["path"].removeprefix(scope.get("root_path", "")) == MODE_PATH:
                _, body = await _read(receive, MAX_MODE_BYTES)
                await answer(send, *mode_answer(body, keys.required, keys.is_operator(scope)))
                return
            if keys.accept(scope):
                ordered = _tenant_hint(scope) if keys.several else {}
                notice = self._notices.read()
                enter = self._pass_on if notice is None else partial(self._pass_or_refuse, notice)
                await enter(scope, receive, send, ordered)
                return
        await self._app(scope, receive, send)

    async def _pass_or_refuse(
        self, notice: Notice, scope: Scope, receive: Receive, send: Send, ordered: dict[str, Hint]
    ) -> None:
        messages, body = await _read(receive) if _length(scope) <= MAX_BODY_BYTES else ([], None)
        identity = identity_of(scope["headers"], self._harnesses)
        caller = caller_of(str(ordered.get(TENANT, "")), identity.session, identity.parent, body)
        decided = self._gate.arrives(caller, notice, time.monotonic())
        if isinstance(decided, Refused):
            self._refused.inc()
            await refuse(send, decided)
            return
        if decided.waited_s:
            ordered = {**ordered, WAITED: f"{notice.secret}:{decided.waited_s:.3f}"}
        try:
            await self._pass_on(scope, _resend(messages, receive), send, ordered)
        finally:
            self._gate.leaves(caller, time.monotonic())

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, ordered: dict[str, Hint]) -> None:
        """Let the server answer; `ordered`: hints that the caller cannot choose."""
        identity = identity_of(scope["headers"], self._harnesses)
        if identity.session and not _header(scope, SESSION_HEADER.encode()):
            named = (SESSION_HEADER.encode(), identity.session.encode("latin-1"))
            scope = {**scope, "headers": [*scope["headers"], named]}
        if self._ranks and not scope["path"].endswith(RESPONSES_PATH):  # for these vLLM reads no rank
            rank = self._ranks.header(str(ordered.get(TENANT, "")), identity, scope["headers"])
            if rank is not None:
                others = [header for header in scope["headers"] if header[0].lower() != RANK_HEADER]
                scope = {**scope, "headers": [*others, rank]}
        told = _identity_hints(identity)
        as_chat = next((form for path, form in FORMATS.items() if scope["path"].endswith(path)), None)
        if _length(scope) <= MAX_BODY_BYTES and (as_chat is not None or told or ordered):
            scope, receive = await _extended(scope, receive, told, ordered, as_chat)
        await self._app(scope, receive, send)


def _header(scope: Scope, wanted: bytes) -> str:
    """The first header of this name, empty without one."""
    return next((value.decode("latin-1") for name, value in scope["headers"] if name.lower() == wanted), "")


def _length(scope: Scope) -> int:
    """Bytes of the body as its header tells them, 0 if it does not."""
    length = _header(scope, b"content-length")
    return int(length) if length.isdecimal() and len(length) < 20 else 0


def _identity_hints(identity: Identity) -> dict[str, Hint]:
    parent: dict[str, Hint] = {PARENT: identity.parent} if identity.parent else {}
    return {**parent, LAST_STEP: 1} if identity.ends else parent


def _tenant_hint(scope: Scope) -> dict[str, Hint]:
    """The tenant that an accepted request's key names."""
    return {TENANT: digest(_header(scope, b"authorization").partition(" ")[2])}


async def _extended(
    scope: Scope,
    receive: Receive,
    told: dict[str, Hint],
    ordered: dict[str, Hint],
    as_chat: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None,
) -> tuple[Scope, Receive]:
    """The request with its hints, see `with_hints`; as it was where there is nothing to add."""
    messages, body = await _read(receive)
    extended = None if body is None else with_hints(body, told, ordered, as_chat)
    if extended is not None:
        headers = [(name, value) for name, value in scope["headers"] if name.lower() != b"content-length"]
        headers.append((b"content-length", str(len(extended)).encode()))
        scope = {**scope, "headers": headers}
        messages = [{"type": "http.request", "body": extended, "more_body": False}]
    return scope, _resend(messages, receive)


async def _read(receive: Receive, most_bytes: int = MAX_BODY_BYTES) -> tuple[list[Message], bytes | None]:
    """The body's messages as received, and the body: None if it is too large or breaks off."""
    messages: list[Message] = []
    size = 0
    while True:
        message = await receive()
        messages.append(message)
        if message["type"] != "http.request":
            return messages, None
        size += len(message.get("body", b""))
        if size > most_bytes:
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
