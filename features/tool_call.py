"""A tool call at the end of its turn, as a feature vector."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .feature import Feature, bucket, bucket_features
from .history import NAN, SessionHistory, ToolHistory

TOOL_BUCKETS = 16
HEAD_BUCKETS = 16


@dataclass(frozen=True, slots=True)
class ToolCallFacts:
    """What is known of a tool call when its turn ends, beside its session's history. None: not known."""

    tool: str | None
    turn: int
    argument_count: int | None = None
    argument_bytes: int | None = None
    argument_head: str | None = None


_SCALARS = (
    Feature("turn", "turns", "number of the calling turn, from 0"),
    Feature("argument_count", "arguments", "arguments of the call"),
    Feature("argument_bytes", "bytes", "size of the arguments"),
    Feature("last_output_tokens", "tokens", "output of the calling turn"),
    Feature("last_tool_s", "s", "duration of the session's last tool call"),
    Feature("mean_tool_s", "s", "mean duration of the session's tool calls"),
    Feature("tool_log_s", "log s", "recent duration of this tool, over all sessions"),
)
TOOL_CALL_FEATURES = (
    *_SCALARS,
    *bucket_features("tool", TOOL_BUCKETS, "the tool"),
    *bucket_features("head", HEAD_BUCKETS, "first word of the arguments"),
)
_TOOL_AT = len(_SCALARS)
_HEAD_AT = _TOOL_AT + TOOL_BUCKETS


def tool_call_features(facts: ToolCallFacts, session: SessionHistory, tools: ToolHistory) -> NDArray[np.float32]:
    """Vector of shape (len(TOOL_CALL_FEATURES),), in their order; what is not known is NaN."""
    row = np.zeros(len(TOOL_CALL_FEATURES), np.float32)
    row[:_TOOL_AT] = (
        facts.turn,
        NAN if facts.argument_count is None else facts.argument_count,
        NAN if facts.argument_bytes is None else facts.argument_bytes,
        session.output_tokens.last,
        session.tool_duration_s.last,
        session.tool_duration_s.mean,
        tools.log_duration_s(facts.tool),
    )
    if facts.tool is not None:
        row[_TOOL_AT + bucket(facts.tool, TOOL_BUCKETS)] = 1.0
    if facts.argument_head is not None:
        row[_HEAD_AT + bucket(facts.argument_head, HEAD_BUCKETS)] = 1.0
    return row
