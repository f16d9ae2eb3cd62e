"""One OpenTelemetry span in OTLP/JSON, as a row of an LLM call or of a tool call.

Attribute names: the semantic conventions for generative AI (https://opentelemetry.io/docs/specs/semconv/gen-ai/), the
older names of its usage attributes, and the attributes of vLLM, OpenLIT and OpenLLMetry.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ...tables.tool_arguments import ArgumentFacts, argument_facts
from ..contract import TokenCounter
from .attributes import attributes, count, first, parsed

Kind = Literal["turn", "call", "agent", "other"]
_LLM_OPERATIONS = frozenset(("chat", "text_completion", "generate_content", "completion"))
_AGENT_OPERATIONS = frozenset(("invoke_agent", "agent"))
_TOOL_OPERATIONS = frozenset(("execute_tool", "tool"))
_INPUT_TOKENS = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.usage.prompt_tokens")
_OUTPUT_TOKENS = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.usage.completion_tokens")
_CACHED_TOKENS = ("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens")
_TTFT_S = (  # all in seconds
    "gen_ai.server.time_to_first_token",
    "gen_ai.latency.time_to_first_token",
    "gen_ai.response.time_to_first_token",
    "gen_ai.response.time_to_first_chunk",
    "gen_ai.server.ttft",
)
_CONVERSATION = ("gen_ai.conversation.id", "session.id", "traceloop.association.properties.session_id")
_OPERATION = ("gen_ai.operation.name", "llm.request.type", "traceloop.span.kind")
_TOOL = ("gen_ai.tool.name", "traceloop.entity.name")
_AGENT = ("gen_ai.agent.name", "gen_ai.agent.id", "traceloop.entity.name")
_ARGUMENTS = ("gen_ai.tool.call.arguments", "traceloop.entity.input")
_RESULT = ("gen_ai.tool.call.result", "traceloop.entity.output")
_FINISH_REASONS: Mapping[str, str] = {
    **dict.fromkeys(("stop", "end_turn", "tool_calls", "tool_call", "tool_use", "stop_sequence"), "stop"),
    **dict.fromkeys(("content_filter", "function_call", "refusal"), "stop"),
    **dict.fromkeys(("length", "max_tokens"), "length"),
    **dict.fromkeys(("abort", "cancelled"), "abort"),
    "error": "error",
}
_STATUS_ERROR = (2, "STATUS_CODE_ERROR")
_NONE = ArgumentFacts()


class SpanError(ValueError):
    """A span is unusable; the message is the cause for `Problems.skip`."""


@dataclass(frozen=True, slots=True)
class Span:
    """Times are Unix nanoseconds, as in the span. `row` has the columns that the span alone determines."""

    kind: Kind
    trace: str
    span: str
    parent: str | None
    conversation: str | None
    start_ns: int
    end_ns: int
    row: Mapping[str, object]
    left_out: str | None = None  # the cause, for a span of kind `other` or `agent`


def read_span(value: Any, tokens: TokenCounter) -> Span:
    """Raises SpanError for a malformed span, and for an LLM call without token counts."""
    if not isinstance(value, dict):
        raise SpanError("span is no object")
    trace, span, parent = (value.get(key) for key in ("traceId", "spanId", "parentSpanId"))
    if not (isinstance(trace, str) and trace and isinstance(span, str) and span):
        raise SpanError("span without traceId or spanId")
    start_ns, end_ns = _nanoseconds(value, "startTimeUnixNano"), _nanoseconds(value, "endTimeUnixNano")
    facts = attributes(value.get("attributes"))
    operation = first(facts, _OPERATION, str)
    kind, row, left_out = _facts(value, facts, operation, (end_ns - start_ns) / 1e9, tokens)
    if kind == "turn" and (ttft_s := first(facts, _TTFT_S, int, float)) is not None:
        row["first_token_s"] = start_ns / 1e9 + ttft_s
    return Span(
        kind=kind,
        trace=trace,
        span=span,
        parent=parent if isinstance(parent, str) and parent else None,
        conversation=first(facts, _CONVERSATION, str),
        start_ns=start_ns,
        end_ns=end_ns,
        row=row,
        left_out=left_out,
    )


def _facts(
    value: Mapping[str, Any], facts: Mapping[str, Any], operation: str | None, duration_s: float, tokens: TokenCounter
) -> tuple[Kind, dict[str, object], str | None]:
    """The span's kind, its row, and for kinds `other` and `agent` the cause."""
    if operation in _TOOL_OPERATIONS:
        return "call", _call_row(value, facts, duration_s, tokens), None
    if operation in _AGENT_OPERATIONS:  # the row of a call that runs the agent, where no tool's span does
        name = first(facts, _AGENT, str) or "agent"
        return "agent", {"tool": name, "duration_s": duration_s, "timing": "call"}, f"spans of operation {operation}"
    counts = count(facts, _INPUT_TOKENS), count(facts, _OUTPUT_TOKENS)
    if operation not in _LLM_OPERATIONS and (operation is not None or counts[0] is None):
        return (
            "other",
            {},
            "spans without an operation" if operation is None else f"spans of operation {operation[:40]}",
        )
    status = value.get("status")
    failed = isinstance(status, dict) and status.get("code") in _STATUS_ERROR
    if counts[0] is None or counts[1] is None:
        if failed:
            return "other", {}, "failed LLM calls without token counts"
        raise SpanError("LLM call without its token counts")
    return "turn", _turn_row(facts, counts[0], counts[1], failed), None


def _turn_row(facts: Mapping[str, Any], prompt_tokens: int, output_tokens: int, failed: bool) -> dict[str, object]:
    reasons = facts.get("gen_ai.response.finish_reasons")
    reason = reasons[0] if isinstance(reasons, list) and reasons else reasons
    output = facts.get("gen_ai.output.type")
    definitions = parsed(facts.get("gen_ai.tool.definitions"))
    return {
        "model": first(facts, ("gen_ai.response.model", "gen_ai.request.model"), str),
        "request_id": first(facts, ("gen_ai.response.id", "gen_ai.request.id"), str),
        "prompt_tokens": prompt_tokens,
        "cached_tokens": count(facts, _CACHED_TOKENS),
        "output_tokens": output_tokens,
        "max_tokens": count(facts, ("gen_ai.request.max_tokens",)),
        "temperature": first(facts, ("gen_ai.request.temperature",), int, float),
        "top_p": first(facts, ("gen_ai.request.top_p",), int, float),
        "structured": output == "json" if isinstance(output, str) else None,
        "finish_reason": "error" if failed else _FINISH_REASONS.get(reason) if isinstance(reason, str) else None,
        "tools_offered": len(definitions) if isinstance(definitions, list) else None,
    }


def _call_row(
    value: Mapping[str, Any], facts: Mapping[str, Any], duration_s: float, tokens: TokenCounter
) -> dict[str, object]:
    name = first(facts, _TOOL, str) or str(value.get("name") or "").removeprefix("execute_tool ").strip()
    if not name:
        raise SpanError("tool span without the tool's name")
    arguments, result = (next((facts[key] for key in keys if key in facts), None) for keys in (_ARGUMENTS, _RESULT))
    known = argument_facts(arguments) if isinstance(arguments, str | dict) else _NONE
    text = result if isinstance(result, str) else None if result is None else json.dumps(result, ensure_ascii=False)
    return {
        "tool": name,
        "argument_count": known.count,
        "argument_bytes": known.size_bytes,
        "argument_head": known.head,
        "duration_s": duration_s,
        "timing": "call",
        "result_tokens": None if text is None else tokens.count(text),
    }


def _nanoseconds(value: Mapping[str, Any], key: str) -> int:
    try:
        found = int(str(value.get(key)))
    except ValueError as error:
        raise SpanError(f"span without {key}") from error
    if not 0 < found < 1 << 63:
        raise SpanError(f"{key} is no time")
    return found
