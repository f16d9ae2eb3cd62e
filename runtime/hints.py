"""What a caller (or AugServeMiddleware for it) tells of a turn, as keys of `sampling_params.extra_args`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

TOOLS_OFFERED = "augserve_tools_offered"
LAST_TOOL = "augserve_last_tool"
ARGUMENT_BYTES = "augserve_argument_bytes"
ARGUMENT_COUNT = "augserve_argument_count"
ARGUMENT_HEAD = "augserve_argument_head"
MAX_NAME = 256


@dataclass(frozen=True, slots=True)
class Hints:
    """None: not told, or told in a form that is none."""

    tools_offered: int | None = None
    last_tool: str | None = None  # the tool whose result this turn brings
    argument_bytes: int | None = None
    argument_count: int | None = None
    argument_head: str | None = None

    @classmethod
    def read(cls, extra_args: Mapping[str, Any] | None) -> Self:
        if not extra_args:
            return cls()
        return cls(
            tools_offered=_count(extra_args.get(TOOLS_OFFERED)),
            last_tool=_name(extra_args.get(LAST_TOOL)),
            argument_bytes=_count(extra_args.get(ARGUMENT_BYTES)),
            argument_count=_count(extra_args.get(ARGUMENT_COUNT)),
            argument_head=_name(extra_args.get(ARGUMENT_HEAD)),
        )


def _count(value: object) -> int | None:
    """A count as JSON may bring it; it has to fit the traces' int32."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 31:
        return None
    return int(value)


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= MAX_NAME else None
