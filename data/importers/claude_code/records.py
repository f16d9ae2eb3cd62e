"""One line of a Claude Code session file as an entry of a conversation."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from ..reading.problems import Problems

CLIENT_MODEL = "<synthetic>"  # of messages that the client wrote without an LLM call
_FINISH_REASONS: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(("end_turn", "tool_use", "stop_sequence", "pause_turn", "refusal"), "stop")
    | dict.fromkeys(("max_tokens", "model_context_window_exceeded"), "length")
)


class RecordError(ValueError):
    """A line is not a record of a session; the message is the cause for `Problems.skip`."""


@dataclass(frozen=True, slots=True)
class ToolUse:
    call_id: str
    tool: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolResult:
    call_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Message:
    """The LLM call of an assistant's record, which may be one of several pieces. None: not recorded."""

    message_id: str
    model: str | None
    finish_reason: str | None
    prompt_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None  # in many streams only the tokens up to this record


@dataclass(frozen=True, slots=True)
class Entry:
    session: str | None
    sidechain: bool  # of a sub-agent's conversation
    agent: str | None  # the sub-agent's id, in newer files
    uuid: str | None
    parent: str | None
    at_s: float  # Unix time
    message: Message | None  # None: from the user, a tool or the client
    text: str
    tail: str  # the last piece of text, a tool's result included
    uses: tuple[ToolUse, ...]
    results: tuple[ToolResult, ...]
    compacted: bool  # replaces the conversation so far
    returned_agent: str | None = None  # the id of the sub-agent whose result this is, in newer files


def read_entry(value: Any, problems: Problems) -> Entry | None:
    """The line as an entry; None where it is not part of the conversation, which is noted.

    Raises RecordError for a malformed line.
    """
    if not isinstance(value, dict) or not isinstance(kind := value.get("type"), str):
        raise RecordError("no record: not an object with a type")
    if kind not in ("assistant", "user"):
        problems.note(f"records of type {kind[:40]}")
        return None
    message = value.get("message")
    if not isinstance(message, dict):
        raise RecordError(f"{kind} record without a message")
    assistant = kind == "assistant"
    if assistant and message.get("model") == CLIENT_MODEL:
        problems.note("messages that the client made up")
        return None
    pieces = list(_pieces(message, assistant, problems))
    result = value.get("toolUseResult")
    texts = [
        piece.text if isinstance(piece, ToolResult) else piece for piece in pieces if not isinstance(piece, ToolUse)
    ]
    return Entry(
        session=_text(value, "sessionId"),
        sidechain=value.get("isSidechain") is True,
        agent=_text(value, "agentId"),
        uuid=_text(value, "uuid"),
        parent=_text(value, "parentUuid"),
        at_s=_unix_s(value.get("timestamp")),
        message=_message(value, message) if assistant else None,
        text="\n".join(piece for piece in pieces if isinstance(piece, str)),
        tail=next((text for text in reversed(texts) if text), ""),
        uses=tuple(piece for piece in pieces if isinstance(piece, ToolUse)),
        results=tuple(piece for piece in pieces if isinstance(piece, ToolResult)),
        compacted=value.get("isCompactSummary") is True,
        returned_agent=_text(result, "agentId") if isinstance(result, dict) else None,
    )


def arguments_text(use: ToolUse) -> str:
    """A tool call approximately as the model writes it."""
    return f"{use.tool} {json.dumps(use.arguments, ensure_ascii=False)}"


def _pieces(message: Mapping[str, Any], assistant: bool, problems: Problems) -> Iterator[str | ToolUse | ToolResult]:
    content = message.get("content")
    if isinstance(content, str):
        yield content
        return
    if not isinstance(content, list):
        raise RecordError("message without content")
    for block in content:
        kind = block.get("type") if isinstance(block, dict) else None
        if kind in ("text", "thinking") and isinstance(block.get(kind), str):
            yield block[kind]
        elif kind == "tool_use" and assistant:
            yield _use(block)
        elif kind == "tool_result" and not assistant:
            yield _result(block, problems)
        elif isinstance(kind, str) and kind not in ("text", "thinking", "tool_use", "tool_result"):
            problems.note(f"blocks of type {kind[:40]}")
        else:
            raise RecordError("content block of an unknown form")


def _use(block: Mapping[str, Any]) -> ToolUse:
    call_id, name, arguments = block.get("id"), block.get("name"), block.get("input")
    if not (isinstance(call_id, str) and isinstance(name, str) and name and isinstance(arguments, dict)):
        raise RecordError("tool_use without id, name or input")
    return ToolUse(call_id, name, arguments)


def _result(block: Mapping[str, Any], problems: Problems) -> ToolResult:
    call_id, content = block.get("tool_use_id"), block.get("content")
    if not isinstance(call_id, str):
        raise RecordError("tool_result without tool_use_id")
    if isinstance(content, list):
        texts = [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
        if len(texts) < len(content):
            problems.note("parts of tool results that are no text", len(content) - len(texts))
        content = "\n".join(texts)
    return ToolResult(call_id, content if isinstance(content, str) else "")


def _message(value: Mapping[str, Any], message: Mapping[str, Any]) -> Message:
    usage = message.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    prompt = [_count(usage, f"{kind}input_tokens") for kind in ("", "cache_creation_", "cache_read_")]
    return Message(
        message_id=_text(message, "id") or _text(value, "requestId") or _text(value, "uuid") or "",
        model=_text(message, "model"),
        finish_reason=_FINISH_REASONS.get(_text(message, "stop_reason") or ""),
        prompt_tokens=sum(tokens or 0 for tokens in prompt) or None,
        cached_tokens=prompt[2],
        output_tokens=_count(usage, "output_tokens") or None,
    )


def _text(value: Mapping[str, Any], key: str) -> str | None:
    found = value.get(key)
    return found if isinstance(found, str) and found else None


def _count(usage: Mapping[str, Any], key: str) -> int | None:
    found = usage.get(key)
    return found if isinstance(found, int) and not isinstance(found, bool) and 0 <= found < 1 << 31 else None


def _unix_s(timestamp: object) -> float:
    try:
        moment = datetime.fromisoformat(str(timestamp))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise RecordError("no timestamp, or none that is ISO 8601") from error
