"""Adds hints to the JSON body of a request."""

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from .conversation import Hint, hints_of

logger = logging.getLogger(f"vllm.{__name__}")

SPACE = " \t\r\n"
"""What JSON allows after its last bracket."""


def with_hints(
    body: bytes,
    told: dict[str, Hint],
    ordered: dict[str, Hint],
    as_chat: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None,
) -> bytes | None:
    """The body with hints in its `vllm_xargs`. None: nothing to add, or no such body.

    The hints are those of the messages, then those of the headers (`told`), then the caller's own, then `ordered`; of
    several with one name the last one holds. `as_chat`: see formats.py; None: the request has no messages. Hints are
    appended: of equal keys in an object, JSON parsers take the last one. So the caller's text is not written anew.
    """
    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass")
        request = json.loads(text)
        given = request.get("vllm_xargs") or {}
        merged = {**_of_messages(request, as_chat), **told, **given, **ordered}
        if merged == given:
            return None
        begun, hints = text.rstrip(SPACE)[:-1], json.dumps(merged)
        return f'{begun}{"," if request else ""}"vllm_xargs":{hints}}}'.encode("utf-8", "surrogatepass")
    except Exception as error:  # noqa: BLE001 — a malformed body is the server's to answer
        logger.debug("augserve: body passed unchanged: %r", error)
        return None


def _of_messages(
    request: Mapping[str, Any], as_chat: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None
) -> dict[str, Hint]:
    """None for messages that cannot be read: the other hints are added all the same."""
    if as_chat is None:
        return {}
    try:
        return hints_of(as_chat(request))
    except Exception as error:  # noqa: BLE001 — malformed messages are the server's to answer
        logger.debug("augserve: messages give no hints: %r", error)
        return {}
