"""One entry of a kv-cache-tester session: a request, or a sub-agent with requests of its own."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

_FINISH_REASONS: Mapping[str, str] = MappingProxyType(
    {"end_turn": "stop", "tool_use": "stop", "stop_sequence": "stop", "refusal": "stop", "max_tokens": "length"}
)


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
    """`end_s` is the entry's time; the times of its requests count from its start (as in the public traces)."""

    agent_id: str | None
    end_s: float
    duration_s: float
    requests: tuple[Any, ...]

    @property
    def start_s(self) -> float:
        return self.end_s - self.duration_s


def read_piece(value: Any, start_s: float) -> Request | Subagent:
    """An entry of `requests` with times from `start_s`. Raises RecordError for a malformed entry."""
    if not isinstance(value, dict):
        raise RecordError("request is no object")
    at_s = _seconds(value, "t")
    if at_s is None:
        raise RecordError("request without t")
    if value.get("type") == "subagent":
        return _subagent(value, start_s + at_s)
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
        blocks=tuple(blocks),
        model=value["model"] if isinstance(value.get("model"), str) else None,
        finish_reason=_FINISH_REASONS.get(stop) if isinstance(stop, str) else None,
        calls_tool=stop == "tool_use" or "tool_use" in _names(value, "output_types"),
        brings_result="tool_result" in _names(value, "input_types"),
        think_s=_seconds(value, "think_time"),
    )


def _subagent(value: Mapping[str, Any], end_s: float) -> Subagent:
    duration_ms, requests, agent_id = _seconds(value, "duration_ms"), value.get("requests"), value.get("agent_id")
    if duration_ms is None or not isinstance(requests, list):
        raise RecordError("subagent without duration_ms or requests")
    return Subagent(agent_id if isinstance(agent_id, str) else None, end_s, duration_ms / 1000, tuple(requests))


def _seconds(value: Mapping[str, Any], key: str) -> float | None:
    found = value.get(key)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found) or found < 0:
        raise RecordError(f"{key} is negative or no number")
    return float(found)


def _count(value: Mapping[str, Any], key: str) -> int:
    found = value.get(key)
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < 1 << 31:
        raise RecordError(f"{key} is no number of tokens")
    return found


def _names(value: Mapping[str, Any], key: str) -> list[Any]:
    found = value.get(key)
    return found if isinstance(found, list) else []
