"""Requests of other formats as chat requests, as far as hints need it: tools, tool calls and their results."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Request = Mapping[str, Any]


def of_chat(request: Request) -> Request:
    return request


def of_messages(request: Request) -> Request:
    """A body of `/v1/messages`: calls and results are blocks of a message's content."""
    messages = [message for given in request["messages"] for message in _of_blocks(given)]
    user = (request.get("metadata") or {}).get("user_id")
    return {"tools": request.get("tools"), "messages": messages, "user": user}


def of_responses(request: Request) -> Request:
    """A body of `/v1/responses`: calls and results are items of its input."""
    items = request["input"]
    messages = [] if isinstance(items, str) else [_of_item(item) for item in items]
    known = {key: request.get(key) for key in ("tools", "user", "safety_identifier")}
    return {**known, "messages": _joined(messages)}


FORMATS: Mapping[str, Callable[[Request], Request]] = {
    "/v1/chat/completions": of_chat,
    "/v1/messages": of_messages,
    "/v1/responses": of_responses,
}
"""By the end of the path."""


def _of_blocks(message: Request) -> Iterator[dict[str, Any]]:
    content = message.get("content")
    blocks = content if isinstance(content, list) else []
    for block in blocks:
        if block.get("type") == "tool_result":
            yield {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": block.get("content")}
    calls = [
        {"id": block.get("id"), "function": {"name": block.get("name"), "arguments": json.dumps(block.get("input"))}}
        for block in blocks
        if block.get("type") == "tool_use"
    ]
    if message.get("role") == "assistant":
        yield {"role": "assistant", "tool_calls": calls}


def _of_item(item: Request) -> dict[str, Any]:
    kind = item.get("type")
    if kind == "function_call":
        function = {"name": item.get("name"), "arguments": item.get("arguments")}
        return {"role": "assistant", "tool_calls": [{"id": item.get("call_id"), "function": function}]}
    if kind == "function_call_output":
        return {"role": "tool", "tool_call_id": item.get("call_id"), "content": item.get("output")}
    return {"role": item.get("role")}


def _joined(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Parallel calls, which are items of their own, as calls of one message."""
    joined: list[dict[str, Any]] = []
    for message in messages:
        if message.get("tool_calls") and joined and joined[-1].get("tool_calls"):
            joined[-1] = {**joined[-1], "tool_calls": [*joined[-1]["tool_calls"], *message["tool_calls"]]}
        else:
            joined.append(message)
    return joined
