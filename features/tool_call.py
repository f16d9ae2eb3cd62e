"""Feature vector of a tool call, at the end of its turn or expected at the turn's arrival."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .feature import Feature, bucket, bucket_features
from .running import NAN, UNSEEN, Running
from .session_history import TOOL_BUCKETS, SessionHistory, call_key
from .shared_history import SharedHistory, fall_back, tool_family

HEAD_BUCKETS = 16


@dataclass(frozen=True, slots=True)
class ToolCallFacts:
    """Facts of a tool call apart from its session's history. None: unknown.

    The call is known at the end of its turn. At the turn's arrival it is only expected (`expected_call`).
    """

    tool: str | None
    turn: int
    argument_count: int | None = None
    argument_bytes: int | None = None
    argument_head: str | None = None
    calls: int | None = None  # parallel calls of the turn, this one included
    expected: bool = False


def expected_call(session: SessionHistory, turn: int) -> ToolCallFacts:
    """The call that may follow a turn, as known at its arrival: the session's last call is the stand-in."""
    return ToolCallFacts(session.last_tool, turn, argument_head=session.last_head, expected=True)


_SCALARS = (
    Feature("expected", "0 or 1", "the call is only expected; its facts are those of the session's last call"),
    Feature("turn", "turns", "number of the calling turn, from 0"),
    Feature("argument_count", "arguments", "arguments of the call"),
    Feature("argument_bytes", "bytes", "size of the arguments"),
    Feature("calls", "calls", "parallel calls of the turn"),
    Feature("context_tokens", "tokens", "prompt and output of the session's last finished turn"),
    Feature("last_new_tokens", "tokens", "new prompt tokens of the session's last finished turn"),
    Feature(
        "last_output_tokens", "tokens", "output of the session's last finished turn (of the calling one, if known)"
    ),
    Feature("tool_calls", "calls", "tool calls of the session before this one"),
    Feature("last_pause_s", "s", "the session's last pause between two turns"),
    Feature("mean_pause_s", "s", "mean pause of the session"),
    Feature("max_pause_s", "s", "longest pause of the session"),
    Feature("same_tool_last_s", "s", "duration of the session's last call of this tool"),
    Feature("same_tool_mean_s", "s", "mean duration of the session's calls of this tool"),
    Feature("same_call_last_s", "s", "duration of the session's last call of this tool and argument head"),
    Feature("same_call_max_s", "s", "longest duration of such calls"),
    Feature("same_call_count", "calls", "number of such calls"),
    Feature("call_log_s", "log s", "recent duration of this tool and argument head, over all sessions"),
    Feature("call_spread", "log s", "mean absolute deviation of that logarithm"),
    Feature("call_count", "calls", "number of such calls"),
    Feature("tool_log_s", "log s", "recent duration of this tool, over all sessions"),
    Feature("tool_spread", "log s", "mean absolute deviation of that logarithm"),
    Feature("tool_count", "calls", "number of such calls"),
    Feature("family_log_s", "log s", "recent duration of the tool's family (its server or package)"),
    Feature("all_log_s", "log s", "recent duration of all tools"),
    Feature("hierarchy_log_s", "log s", "most special known level of all tools → family → tool → tool and head"),
    Feature("hierarchy_spread", "log s", "mean absolute deviation, from the same hierarchy"),
    Feature("hierarchy_high", "log s", "running 0.9 quantile, from the same hierarchy"),
    Feature("tool_high", "log s", "running 0.9 quantile of this tool's duration, over all sessions"),
    Feature("after_tool_pause", "log s", "recent pause after turns that read a result of the session's last tool"),
    Feature("after_tool_pause_high", "log s", "running 0.9 quantile of these pauses"),
)
TOOL_CALL_FEATURES = (
    *_SCALARS,
    *bucket_features("tool", TOOL_BUCKETS, "the tool"),
    *bucket_features("head", HEAD_BUCKETS, "the command word or first word of the arguments"),
)
_TOOL_START = len(_SCALARS)
_HEAD_START = _TOOL_START + TOOL_BUCKETS
_BUCKETS = [0.0] * (len(TOOL_CALL_FEATURES) - _TOOL_START)
_NEVER = Running()  # an empty series; nothing is ever added


def tool_call_features(facts: ToolCallFacts, session: SessionHistory, shared: SharedHistory) -> NDArray[np.float32]:
    """Vector of shape (len(TOOL_CALL_FEATURES),), in their order; NaN for unknown values."""
    tool, head = facts.tool, facts.argument_head
    same_tool = same_call = _NEVER
    by_tool = by_call = by_family = UNSEEN
    if tool is not None:
        same_tool = session.call_s.get(call_key(tool), _NEVER)
        by_tool = shared.tool_s.of(tool)
        family = tool_family(tool)
        if family is not None:
            by_family = shared.family_s.of(family)
        if head is not None:
            same_call = session.call_s.get(call_key(tool, head), _NEVER)
            by_call = shared.call_s.of((tool, head))
    pauses = session.pause_s
    pause_mean, _, pause_high = fall_back(shared.all_pause_s, shared.pause_s.of(session.last_tool))
    row = [
        facts.expected,
        facts.turn,
        NAN if facts.argument_count is None else facts.argument_count,
        NAN if facts.argument_bytes is None else facts.argument_bytes,
        NAN if facts.calls is None else facts.calls,
        session.context_tokens,
        session.new_tokens,
        session.output_tokens.last,
        session.calls,
        pauses.last,
        pauses.mean,
        pauses.greatest,
        same_tool.last,
        same_tool.mean,
        same_call.last,
        same_call.greatest,
        same_call.count,
        by_call.mean,
        by_call.spread,
        by_call.count,
        by_tool.mean,
        by_tool.spread,
        by_tool.count,
        by_family.mean,
        shared.all_s.mean,
        *fall_back(shared.all_s, by_family, by_tool, by_call),
        by_tool.high,
        pause_mean,
        pause_high,
    ]
    row += _BUCKETS
    if tool is not None:
        row[_TOOL_START + bucket(tool, TOOL_BUCKETS)] = 1.0
    if head is not None:
        row[_HEAD_START + bucket(head, HEAD_BUCKETS)] = 1.0
    return np.array(row, np.float32)
