"""`POST /augserve/mode` with {"mode": "active"}: the API server's end of a change of mode."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from .mode_file import ModeError, ask_for

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
PATH = "/augserve/mode"
MAX_BODY_BYTES = 4096


def mode_answer(body: bytes | None, required: bool, is_operator: bool) -> tuple[int, dict[str, str]]:
    """Ask the engines for the mode in the body. Returns the status and the content of the answer.

    `required`: whether the server has API keys; `is_operator`: whether the request bears the first of them.
    """
    if not required:
        return 403, {"error": "the server has no API key; start it with --api-key to change its mode"}
    if not is_operator:
        return 401, {"error": "the mode changes with the first of the server's API keys alone"}
    try:
        mode = json.loads(body or b"")["mode"]
    except (ValueError, LookupError, TypeError):
        return 400, {"error": """the body names no mode; send {"mode": "active"}, "shadow" or "off\""""}
    try:
        ask_for(mode)
    except ModeError as error:
        return 400, {"error": str(error)}
    except OSError as error:
        return 500, {"error": f"the mode cannot be passed on: {error}; make room in TMPDIR"}
    return 202, {"mode": str(mode), "applies": "within a second, at a step, until the server stops"}


async def answer(send: Send, status: int, content: dict[str, str]) -> None:
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
