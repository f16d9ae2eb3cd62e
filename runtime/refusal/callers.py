"""Who sends a request: keys of its session, read from its headers and its body as vLLM reads them."""

import hashlib
import json
import logging
from collections.abc import Mapping
from typing import Any

from .gate import Caller

logger = logging.getLogger(f"vllm.{__name__}")

MAX_MESSAGES = 1024
"""Messages of a conversation that are read, from the first one on."""


def caller_of(owner: str, session_id: str, parent_id: str, body: bytes | None) -> Caller:
    """`owner`: hash of the API key where the server has several. `session_id`, `parent_id`: of the headers, or empty.
    `body`: None if it is not read."""
    try:
        kind, text, goes_on = _speaker(session_id, {} if body is None else json.loads(body))
    except Exception as error:  # noqa: BLE001 — a malformed body is the server's to answer
        logger.debug("augserve: body names no session: %r", error)
        kind, text, goes_on = "", "", False
    key = _key(owner, kind, text.encode("utf-8", "surrogatepass") if kind else body or b"")
    parent = _key(owner, "session", parent_id.encode("latin-1")) if parent_id else None
    return Caller(key, goes_on, parent)


def _speaker(session_id: str, request: Mapping[str, Any]) -> tuple[str, str, bool]:
    """The kind of the key, its text, and whether the turn may be a next one. Raises whatever a malformed body does."""
    hints = request.get("vllm_xargs")
    named = request.get("session_id") or session_id or (hints and hints.get("session_id"))
    if named:
        return "session", str(named), True
    messages = (request.get("messages") or request["input"])[:MAX_MESSAGES]
    roles = [message.get("role") for message in messages]
    end = roles.index("user") + 1
    return "conversation", json.dumps(messages[:end]), "assistant" in roles[end:]


def _key(owner: str, kind: str, text: bytes) -> bytes:
    hashed = hashlib.blake2b(f"{owner}\0{kind}\0".encode(), digest_size=16)
    hashed.update(text)
    return hashed.digest()
