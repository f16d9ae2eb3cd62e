"""What a caller (or AugServeMiddleware for it) tells of a turn, as keys of `sampling_params.extra_args`.

A turn may bring the results of several calls, made at once: then each key of a call holds a list, in the order of the
calls. A list has no null: -1 and "" stand for "not known".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

TOOLS_OFFERED = "augserve_tools_offered"
LAST_TOOL = "augserve_last_tool"
ARGUMENT_BYTES = "augserve_argument_bytes"
ARGUMENT_COUNT = "augserve_argument_count"
ARGUMENT_HEAD = "augserve_argument_head"
RESULT_BYTES = "augserve_result_bytes"
CALL_ID = "augserve_call_id"
CALL_ID_BEFORE = "augserve_call_id_before"
TENANT = "augserve_tenant"
MAX_NAME = 256
MAX_CALLS = 32
"""More calls made at once are not read."""


@dataclass(frozen=True, slots=True)
class CallHint:
    """A tool call whose result the turn brings. None: not told, or told in a form that is none."""

    tool: str
    argument_bytes: int | None = None
    argument_count: int | None = None
    argument_head: str | None = None
    result_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Hints:
    """None: not told, or told in a form that is none."""

    tools_offered: int | None = None
    calls: tuple[CallHint, ...] = ()
    call_id: str | None = None  # stands for the conversation's latest tool call, see conversation.py
    call_id_before: str | None = None  # the same of the message with tool calls before that one
    tenant: str | None = None  # on whose behalf, as a hash

    @classmethod
    def read(cls, extra_args: Mapping[str, Any] | None) -> Self:
        if not extra_args:
            return cls()
        return cls(
            tools_offered=_count(extra_args.get(TOOLS_OFFERED)),
            calls=_calls(extra_args),
            call_id=_name(extra_args.get(CALL_ID)),
            call_id_before=_name(extra_args.get(CALL_ID_BEFORE)),
            tenant=_name(extra_args.get(TENANT)),
        )

    @property
    def tools(self) -> tuple[str, ...]:
        """The tools whose results this turn brings."""
        return tuple(call.tool for call in self.calls)


def _calls(extra_args: Mapping[str, Any]) -> tuple[CallHint, ...]:
    tools = _list(extra_args.get(LAST_TOOL))[:MAX_CALLS]
    columns = [
        _column(extra_args.get(key), len(tools))
        for key in (ARGUMENT_BYTES, ARGUMENT_COUNT, ARGUMENT_HEAD, RESULT_BYTES)
    ]
    calls = []
    for told, size, count, head, result in zip(tools, *columns, strict=True):
        tool = _name(told)
        if tool is not None:
            calls.append(CallHint(tool, _count(size), _count(count), _name(head), _count(result)))
    return tuple(calls)


def _list(value: object) -> list[object]:
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def _column(value: object, length: int) -> list[object]:
    """A value a call; none where there are fewer values than calls, as it is not told which they belong to."""
    values = _list(value)[:length]
    return values if len(values) == length else [None] * length


def _count(value: object) -> int | None:
    """A count as JSON may bring it; it has to fit the traces' int32."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 31:
        return None
    return int(value)


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= MAX_NAME else None
