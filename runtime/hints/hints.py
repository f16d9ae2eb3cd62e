"""Hints about a turn, from the caller or from AugServeMiddleware, as keys of `sampling_params.extra_args`.

A turn may bring the results of parallel calls. Then each key of a call has a list, in the order of the calls. Lists
have no null: -1 and "" mean unknown.
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
PARENT = "augserve_parent_session_id"
LAST_STEP = "is_last_step"
"""The name that Continuum's clients use (github.com/Hanchenli/vllm-continuum)."""
WAITED = "augserve_waited"
"""From the middleware alone: its secret and the seconds since the first try of a turn that was refused."""
MAX_NAME = 256
MAX_CALLS = 32
"""Parallel calls that are read, at most."""


@dataclass(frozen=True, slots=True)
class CallHint:
    """A tool call whose result the turn brings. None: missing or malformed."""

    tool: str
    argument_bytes: int | None = None
    argument_count: int | None = None
    argument_head: str | None = None
    result_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Hints:
    """None: missing or malformed."""

    tools_offered: int | None = None
    calls: tuple[CallHint, ...] = ()
    call_id: str | None = None  # hash of the conversation's latest tool calls, see conversation.py
    call_id_before: str | None = None  # the same of the message with tool calls before those
    tenant: str | None = None  # hash of the user
    parent_session_id: str | None = None  # of a sub-agent: the session that waits for it
    waited: str | None = None  # see WAITED
    is_last_turn: bool = False  # the caller says that its session ends with this turn

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
            parent_session_id=_name(extra_args.get(PARENT)),
            waited=_name(extra_args.get(WAITED)),
            is_last_turn=extra_args.get(LAST_STEP) in (True, 1, "true"),
        )

    @property
    def tools(self) -> tuple[str, ...]:
        """The tools whose results this turn brings."""
        return tuple(call.tool for call in self.calls)


def _calls(extra_args: Mapping[str, Any]) -> tuple[CallHint, ...]:
    tools = _list(extra_args.get(LAST_TOOL))[:MAX_CALLS]
    sizes, counts, heads, results = (
        _column(extra_args.get(key), len(tools))
        for key in (ARGUMENT_BYTES, ARGUMENT_COUNT, ARGUMENT_HEAD, RESULT_BYTES)
    )
    return tuple(
        CallHint(tool, _count(size), _count(count), _name(head), _count(result))
        for name, size, count, head, result in zip(tools, sizes, counts, heads, results, strict=True)
        if (tool := _name(name)) is not None
    )


def _list(value: object) -> list[object]:
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def _column(value: object, calls: int) -> list[object]:
    """One value per call; None for each if there are fewer values than calls, as their calls are unknown."""
    values = _list(value)[:calls]
    return values if len(values) == calls else [None] * calls


def _count(value: object) -> int | None:
    """A count from JSON that fits the int32 columns of traces."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 31:
        return None
    return int(value)


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= MAX_NAME else None
