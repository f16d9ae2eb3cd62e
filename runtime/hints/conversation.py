"""Hints from the messages of a chat request: counts and hashes of its tools and its session."""

import hashlib
import re
from collections import defaultdict, deque
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ...data.tables.tool_arguments import argument_facts
from .hints import (
    ARGUMENT_BYTES,
    ARGUMENT_COUNT,
    ARGUMENT_HEAD,
    CALL_ID,
    CALL_ID_BEFORE,
    LAST_TOOL,
    MAX_CALLS,
    MAX_NAME,
    RESULT_BYTES,
    TENANT,
    TOOLS_OFFERED,
)

MIN_RANDOM = 9
"""Fewest letters and digits in the last part of a random id."""
MIN_EDGES = 3
"""Fewest changes between letters and digits in it. A tenth of random ids with 22 characters have fewer; such a
conversation is linked by its prompt's prefix alone."""
_DIGIT_EDGE = re.compile(r"(?<=[0-9])(?=[A-Za-z])|(?<=[A-Za-z])(?=[0-9])")
MAX_MESSAGES = 1024
"""Messages that are read, from the last one backwards."""
MAX_CALLS_SEEN = 1024
"""Tool calls among which those of the results are searched."""

Message = Mapping[str, Any]
Hint = str | int | list[str | int]


def hints_of(request: Mapping[str, Any]) -> dict[str, Hint]:
    """Hints of a chat-completions body. A malformed body raises any exception."""
    hints: dict[str, Hint] = {TOOLS_OFFERED: len(request.get("tools") or ())}
    user = request.get("safety_identifier") or request.get("user")
    if isinstance(user, str) and user:
        hints[TENANT] = digest(user)
    messages = request["messages"]
    return {**hints, **_results(messages), **_call_ids(messages)}


def is_random(call_id: str) -> bool:
    """Whether an id looks random, so that it identifies one conversation.

    Some servers number their calls (`call_0`, `functions.search:3`) or use the tool's name or the time: such ids occur
    in many conversations. The last part of a random id is long and switches between letters and digits.
    """
    last = re.split(r"[^A-Za-z0-9]", call_id)[-1]
    return len(last) >= MIN_RANDOM and len(_DIGIT_EDGE.findall(last)) >= MIN_EDGES


def _results(messages: Sequence[Message]) -> dict[str, Hint]:
    """The calls whose results follow the assistant's last message: lists with one entry per call."""
    results: list[Message] = []
    for message in messages[:-MAX_MESSAGES:-1]:
        if message.get("role") == "assistant":
            break
        if message.get("role") == "tool":
            results.append(message)
    results = results[: -MAX_CALLS - 1 : -1]
    keys = (LAST_TOOL, ARGUMENT_BYTES, ARGUMENT_COUNT, ARGUMENT_HEAD, RESULT_BYTES)
    rows: list[tuple[str | int, ...]] = []
    calls = _calls_by_id(messages, {result.get("tool_call_id") for result in results})
    for result in results:
        if not (made := calls.get(result.get("tool_call_id"))):
            continue
        function = made.popleft().get("function") or {}
        arguments = function.get("arguments")
        facts = argument_facts(arguments if isinstance(arguments, str | Mapping) else "")
        size = -1 if facts.size_bytes is None else facts.size_bytes
        count = -1 if facts.count is None else facts.count
        rows.append((str(function["name"]), size, count, facts.head or "", _size_bytes(result.get("content"))))
    return {key: list(column) for key, column in zip(keys, zip(*rows, strict=True), strict=False)}


def _calls_by_id(messages: Sequence[Message], wanted: Collection[object]) -> dict[object, deque[Message]]:
    """The calls with these ids, of the latest message first, each message's in their order."""
    calls: dict[object, deque[Message]] = defaultdict(deque)
    left = MAX_CALLS_SEEN
    for message in messages[:-MAX_MESSAGES:-1] if wanted else ():
        made = (message.get("tool_calls") or ())[:left]
        for call in made:
            if call.get("id") in wanted:
                calls[call["id"]].append(call)
        left -= len(made)
        if not left:
            break
    return calls


def _call_ids(messages: Sequence[Message]) -> dict[str, Hint]:
    """Hashes of the first calls of the last two messages with tool calls, as far as their ids are random."""
    calls = (message["tool_calls"] for message in messages[:-MAX_MESSAGES:-1] if message.get("tool_calls"))
    hints: dict[str, Hint] = {}
    for key, group in zip((CALL_ID, CALL_ID_BEFORE), calls, strict=False):
        call = group[0]
        call_id = call.get("id")
        if isinstance(call_id, str) and len(call_id) <= MAX_NAME and is_random(call_id):
            function = call.get("function") or {}
            hints[key] = digest(f"{call_id}\0{function.get('name')}\0{function.get('arguments')}")
    return hints


def _size_bytes(content: object) -> int:
    """Bytes of a message's text, which may come in parts."""
    if isinstance(content, str):
        return len(content.encode("utf-8", "surrogatepass"))
    parts = content if isinstance(content, list) else ()
    return sum(_size_bytes(part.get("text")) for part in parts if isinstance(part, Mapping))


def digest(text: str) -> str:
    """A hash of 16 bytes, in hexadecimal digits."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
