"""What the messages of a chat request say about its tools and its session, as hints. Text becomes counts and hashes."""

import hashlib
import re
from collections.abc import Mapping, Sequence
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
    RESULT_BYTES,
    TENANT,
    TOOLS_OFFERED,
)

MIN_RANDOM = 9
"""Letters and digits that an id's last part must have to be taken as random."""
MIN_EDGES = 3
"""How often it must change between letters and digits. A tenth of the random ids of 22 letters and digits do not: for
these the prompt's prefix has to do."""
_DIGIT_EDGE = re.compile(r"(?<=[0-9])(?=[A-Za-z])|(?<=[A-Za-z])(?=[0-9])")

Hint = str | int | list[str | int]


def hints_of(request: Mapping[str, Any]) -> dict[str, Hint]:
    """Hints of a chat-completions body. Raises whatever a malformed one makes it raise."""
    hints: dict[str, Hint] = {TOOLS_OFFERED: len(request.get("tools") or ())}
    user = request.get("safety_identifier") or request.get("user")
    if isinstance(user, str) and user:
        hints[TENANT] = _digest(user)
    messages = request["messages"]
    hints.update(_results(messages))
    hints.update(_call_ids(messages))
    return hints


def is_random(call_id: str) -> bool:
    """Whether an id looks drawn at random, so that no second conversation has it.

    Servers and clients also number their calls (`call_0`, `functions.search:3`) or name them after the tool or the
    time: such ids are in every conversation. A random one's last part is long and switches between letters and digits.
    """
    last = re.split(r"[^A-Za-z0-9]", call_id)[-1]
    return len(last) >= MIN_RANDOM and len(_DIGIT_EDGE.findall(last)) >= MIN_EDGES


def _results(messages: Sequence[Mapping[str, Any]]) -> dict[str, Hint]:
    """The calls whose results stand after the last message of the assistant, a list entry each."""
    results: list[Mapping[str, Any]] = []
    for message in reversed(messages):
        if message.get("role") == "assistant":
            break
        if message.get("role") == "tool":
            results.append(message)
    columns: dict[str, list[str | int]] = {
        key: [] for key in (LAST_TOOL, ARGUMENT_BYTES, ARGUMENT_COUNT, ARGUMENT_HEAD, RESULT_BYTES)
    }
    answered: set[int] = set()
    for result in results[: -MAX_CALLS - 1 : -1]:
        function = _function(messages, result.get("tool_call_id"), answered)
        if function is None:
            continue
        name, arguments = str(function["name"]), function.get("arguments")
        facts = argument_facts(arguments if isinstance(arguments, str | Mapping) else "")
        values: tuple[str | int, ...] = (
            name,
            -1 if facts.size_bytes is None else facts.size_bytes,
            -1 if facts.count is None else facts.count,
            facts.head or "",
            _size_bytes(result.get("content")),
        )
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    return {key: column for key, column in columns.items() if column}


def _function(messages: Sequence[Mapping[str, Any]], call_id: object, answered: set[int]) -> Mapping[str, Any] | None:
    """The latest call with this id; where several of a message share it, the first that is not answered yet."""
    for message in reversed(messages):
        for call in message.get("tool_calls") or ():
            if call.get("id") == call_id and id(call) not in answered:
                answered.add(id(call))
                function: Mapping[str, Any] = call.get("function") or {}
                return function
    return None


def _call_ids(messages: Sequence[Mapping[str, Any]]) -> dict[str, Hint]:
    """What stands for the last message with tool calls, and for the one before it; without a random id, nothing."""
    calls = (message["tool_calls"] for message in reversed(messages) if message.get("tool_calls"))
    hints: dict[str, Hint] = {}
    for key, group in zip((CALL_ID, CALL_ID_BEFORE), calls, strict=False):
        call = group[0]
        if isinstance(call.get("id"), str) and is_random(call["id"]):
            function = call.get("function") or {}
            hints[key] = _digest(f"{call['id']}\0{function.get('name')}\0{function.get('arguments')}")
    return hints


def _size_bytes(content: object) -> int:
    """Bytes of a message's text, which may come in parts."""
    if isinstance(content, str):
        return len(content.encode("utf-8", "surrogatepass"))
    parts = content if isinstance(content, list) else ()
    return sum(_size_bytes(part.get("text")) for part in parts if isinstance(part, Mapping))


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
