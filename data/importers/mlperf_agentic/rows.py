"""One line of MLPerf Endpoints' agentic dataset as a message of a conversation.

Format: https://github.com/mlcommons/endpoints, scripts/agentic_inference_dataset_schema.json.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..reading.numbers import as_float

Role = Literal["user", "assistant", "tool"]
_ROLES: tuple[Role, ...] = ("user", "assistant", "tool")
_LIMITS = ("max_completion_tokens", "max_new_tokens", "max_tokens")


class RowError(ValueError):
    """A line is no message of a conversation; the message is the cause for `Problems.skip`."""


@dataclass(frozen=True, slots=True)
class Call:
    call_id: str
    tool: str
    arguments: str | Mapping[str, Any]

    @property
    def text(self) -> str:
        """The call approximately as the model writes it."""
        return f"{self.tool} {self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments)}"


@dataclass(frozen=True, slots=True)
class Message:
    conversation: str
    turn: int
    role: Role
    text: str  # content and reasoning
    system: str
    tools: Sequence[Any]
    calls: tuple[Call, ...]
    results: tuple[tuple[str, str], ...]  # (id of the call, text)
    delay_s: float | None  # None: negative or no number
    request: Mapping[str, Any]  # the columns of a turn that the row tells


def read_message(value: Any) -> Message:
    """Raises RowError."""
    if not isinstance(value, dict):
        raise RowError("row is no object")
    conversation, turn, role = (value.get(key) for key in ("conversation_id", "turn", "role"))
    if not isinstance(conversation, str) or not conversation:
        raise RowError("row without conversation_id")
    if isinstance(turn, bool) or not isinstance(turn, int):
        raise RowError("row without a turn number")
    if role not in _ROLES:
        raise RowError("role is none of user, assistant, tool")
    message = Message(
        conversation=conversation,
        turn=turn,
        role=role,
        text="\n".join(text for key in ("reasoning_content", "content") if (text := _text(value.get(key)))),
        system=_text(value.get("system")),
        tools=_list(value.get("tools")),
        calls=tuple(map(_call, _list(value.get("tool_calls")))),
        results=tuple(map(_result, _list(value.get("tool_results")))),
        delay_s=_delay_s(value.get("delay_seconds")),
        request={
            "model": value.get("model") if isinstance(value.get("model"), str) else None,
            "max_tokens": next((limit for key in _LIMITS if (limit := _number(value.get(key)))), None),
            "temperature": _number(value.get("temperature")),
            "top_p": _number(value.get("top_p")),
        },
    )
    if role == "user" and not message.text:
        raise RowError("user row without content")
    if role == "assistant" and not message.text and not message.calls:
        raise RowError("assistant row without content and tool_calls")
    if role == "tool" and not message.results:
        raise RowError("tool row without tool_results")
    return message


def _text(value: Any) -> str:
    """Content: a text, or a list of parts of which some are text."""
    if isinstance(value, str):
        return value
    parts = (part.get("text") for part in _list(value) if isinstance(part, dict))
    return "\n".join(part for part in parts if isinstance(part, str))


def _call(value: Any) -> Call:
    function = value.get("function") if isinstance(value, dict) else None
    if not isinstance(function, dict) or not isinstance(value.get("id"), str):
        raise RowError("tool call without id or function")
    name, arguments = function.get("name"), function.get("arguments")
    if not isinstance(name, str) or not name or not isinstance(arguments, str | dict):
        raise RowError("tool call without a name or arguments")
    return Call(value["id"], name, arguments)


def _result(value: Any) -> tuple[str, str]:
    if not isinstance(value, dict) or not isinstance(value.get("tool_call_id"), str) or "content" not in value:
        raise RowError("tool result without tool_call_id or content")
    return value["tool_call_id"], _text(value["content"])


def _delay_s(value: Any) -> float | None:
    """A missing delay is none."""
    if value is None:
        return 0.0
    delay_s = as_float(value)
    return delay_s if delay_s is not None and math.isfinite(delay_s) and delay_s >= 0 else None


def _number(value: Any) -> float | int | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
