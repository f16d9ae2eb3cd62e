"""One entry of a kv-cache-tester session: a request, or a sub-agent with requests of its own."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ...tables.schema import CLOCK_S
from ..reading.numbers import as_float

SUBAGENT = "subagent"  # the type of a sub-agent's entry
_FINISH_REASONS: Mapping[str, str] = MappingProxyType(
    {"end_turn": "stop", "tool_use": "stop", "stop_sequence": "stop", "refusal": "stop", "max_tokens": "length"}
)

_HALF = 1 << 63


class RecordError(ValueError):
    """An entry is malformed; the message is the cause for `Problems.skip`."""


@dataclass(frozen=True, slots=True)
class Request:
    arrival_s: float
    finish_s: float | None
    first_token_s: float | None
    prompt_tokens: int
    output_tokens: int
    blocks: tuple[int, ...]  # hashes of the prompt's full blocks
    model: str | None
    finish_reason: str | None
    calls_tool: bool
    brings_result: bool
    think_s: float | None  # from the end of the request before, in whole seconds


@dataclass(frozen=True, slots=True)
class Subagent:
    agent_id: str | None
    start_s: float
    duration_s: float
    requests: tuple[Any, ...]
    requests_start_s: float  # the zero of the requests' times
    prefix_tokens: int  # of its system prompt and tools; 0: unknown


def are_absolute(requests: Sequence[Any]) -> bool:
    """Whether the requests of sub-agents have times of the whole session, as in SemiAnalysis' AgentX traces.

    There `t` of a sub-agent is its start. In kv-cache-tester's own files it is the end, and the times of the
    sub-agent's requests count from its start: they lie before its `t`.
    """
    return all(
        inner >= outer - CLOCK_S
        for entry in requests
        if (outer := _time(entry)) is not None
        for value in _inner(entry)
        if (inner := _time(value)) is not None
    )


def read_piece(value: Any, start_s: float, absolute: bool) -> Request | Subagent:
    """An entry of `requests`. Raises RecordError for a malformed entry.

    `start_s` is the zero of the entry's times, `absolute` how sub-agents tell theirs (`are_absolute`).
    """
    if not isinstance(value, dict):
        raise RecordError("request is no object")
    at_s = _seconds(value, "t")
    if at_s is None:
        raise RecordError("request without t")
    if value.get("type") == SUBAGENT:
        return _subagent(value, start_s + at_s, absolute)
    blocks = value.get("hash_ids", [])
    if not isinstance(blocks, list) or not set(map(type, blocks)) <= {int}:
        raise RecordError("hash_ids is no list of numbers")
    arrival_s, api_s, ttft_s = start_s + at_s, _seconds(value, "api_time"), _seconds(value, "ttft")
    stop = value.get("stop")
    return Request(
        arrival_s=arrival_s,
        finish_s=None if api_s is None else arrival_s + api_s,
        first_token_s=None if ttft_s is None else arrival_s + ttft_s,
        prompt_tokens=_count(value, "in"),
        output_tokens=_count(value, "out"),
        blocks=_hashes(blocks),
        model=value["model"] if isinstance(value.get("model"), str) and value["model"] else None,
        finish_reason=_FINISH_REASONS.get(stop) if isinstance(stop, str) else None,
        calls_tool=stop == "tool_use" or "tool_use" in _names(value, "output_types"),
        brings_result="tool_result" in _names(value, "input_types"),
        think_s=_seconds(value, "think_time"),
    )


def prefix_tokens(value: Mapping[str, Any]) -> int:
    """Tokens of the system prompt and tools; 0 where they are not told."""
    return sum(_count(value, key) for key in ("system_tokens", "tool_tokens") if key in value)


def _subagent(value: Mapping[str, Any], at_s: float, absolute: bool) -> Subagent:
    requests, agent_id, duration_ms = value.get("requests"), value.get("agent_id"), _seconds(value, "duration_ms")
    if not isinstance(requests, list) or (duration_ms is None and not requests):
        raise RecordError("subagent without duration_ms or requests")
    first_s = at_s if absolute else 0.0
    duration_s = _last_end_s(requests, first_s) - first_s if duration_ms is None else duration_ms / 1000
    start_s = at_s if absolute else at_s - duration_s
    return Subagent(
        agent_id=agent_id if isinstance(agent_id, str) and agent_id else None,
        start_s=start_s,
        duration_s=duration_s,
        requests=tuple(requests),
        requests_start_s=0.0 if absolute else start_s,
        prefix_tokens=prefix_tokens(value),
    )


def _last_end_s(requests: Sequence[Any], first_s: float) -> float:
    """The end of the last request, for a sub-agent whose duration is not recorded; not before `first_s`."""
    starts = ((value, _time(value)) for value in requests)
    ends = [start_s + (_time(value, "api_time") or 0.0) for value, start_s in starts if start_s is not None]
    return max([first_s, *ends])


def _inner(entry: Mapping[str, Any]) -> list[Any]:
    found = entry.get("requests") if entry.get("type") == SUBAGENT else None
    return found if isinstance(found, list) else []


def _hashes(blocks: Sequence[int]) -> tuple[int, ...]:
    """The hashes as signed 64-bit numbers, the type of the table; equal ones stay equal."""
    if all(-_HALF <= block < _HALF for block in blocks):
        return tuple(blocks)
    return tuple((block + _HALF) % (2 * _HALF) - _HALF for block in blocks)


def _time(value: Any, key: str = "t") -> float | None:
    return as_float(value.get(key)) if isinstance(value, dict) else None


def _seconds(value: Mapping[str, Any], key: str) -> float | None:
    found = value.get(key)
    if found is None:
        return None
    seconds = as_float(found)
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        raise RecordError(f"{key} is negative or no number")
    return seconds


def _count(value: Mapping[str, Any], key: str) -> int:
    found = value.get(key)
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < 1 << 31:
        raise RecordError(f"{key} is no number of tokens")
    return found


def _names(value: Mapping[str, Any], key: str) -> list[Any]:
    found = value.get(key)
    return found if isinstance(found, list) else []
