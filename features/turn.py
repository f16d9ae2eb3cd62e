"""Feature vector of a turn at its arrival."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..data.tables.prompt_tail import TAIL_BUCKETS
from .feature import Feature, bucket, bucket_features
from .running import NAN
from .session_history import TOOL_BUCKETS, SessionHistory
from .shared_history import SharedHistory, fall_back


@dataclass(frozen=True, slots=True)
class TurnFacts:
    """Facts of a turn at its arrival, apart from its session's history. None: unknown."""

    prompt_tokens: int
    turn: int  # from 0
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    structured: bool | None = None
    tools_offered: int | None = None
    tail: Sequence[int] | None = None  # see data/tables/prompt_tail.py


_SCALARS = (
    Feature("prompt_tokens", "tokens", "length of the prompt"),
    Feature("new_tokens", "tokens", "prompt tokens beyond the context of the session's last turn"),
    Feature(
        "cached_tokens",
        "tokens",
        "prompt tokens that the session's last turn left in the prefix cache, evictions aside. (The actual number "
        "depends on the load and is missing in most traces; runtime/queueing/value.py reads it live.)",
    ),
    Feature("turn", "turns", "number of the turn in its session, from 0"),
    Feature("max_tokens", "tokens", "the caller's limit on the output"),
    Feature("temperature", "1", "sampling temperature"),
    Feature("top_p", "1", "share of the probability that is sampled from"),
    Feature("structured", "0 or 1", "the output must follow a grammar or schema"),
    Feature("tools_offered", "tools", "tools offered to the model"),
    Feature("tools_used", "tools", "distinct tools that the session has called"),
    Feature("tool_calls", "calls", "tool calls of the session so far"),
    Feature("last_calls", "calls", "parallel tool calls of the session's last turn"),
    Feature("same_tool_turns", "turns", "number of turns in a row with the same last tool"),
    Feature("last_argument_bytes", "bytes", "size of the last call's arguments"),
    Feature("argument_bytes", "bytes", "size of the arguments of all the session's calls"),
    Feature(
        "first_prompt_log2",
        "log2 tokens",
        "prompt of the session's first finished turn, to half an octave; a finer value would identify the session",
    ),
    Feature("last_new_tokens", "tokens", "new prompt tokens of the session's last turn"),
    Feature("last_output_tokens", "tokens", "output of the session's last turn"),
    Feature("before_last_output_tokens", "tokens", "output of the session's last turn but one"),
    Feature("mean_output_tokens", "tokens", "mean output of the session's turns"),
    Feature("max_output_tokens", "tokens", "longest output of the session's turns"),
    Feature("total_output_tokens", "tokens", "sum of the session's outputs"),
    Feature("last_pause_s", "s", "from the end of the session's last turn to this arrival"),
    Feature("mean_pause_s", "s", "mean pause of the session"),
    Feature(
        "total_pause_s", "s", "sum of the session's pauses: its age without engine time, which depends on the load"
    ),
    Feature("tool_log_s", "log s", "recent duration of the session's last tool, over all sessions"),
    Feature(
        "recent_output_log",
        "log tokens",
        "recent output of the tenant's turns, or of all turns without one",
    ),
    Feature(
        "after_tool_output_log",
        "log tokens",
        "recent output of turns after the same tool (and argument head), over all sessions",
    ),
    Feature("after_tool_spread", "log tokens", "mean absolute deviation of that logarithm"),
    Feature("session_output_log", "log tokens", "recent output of the session's turns"),
    Feature("after_pair_output_log", "log tokens", "recent output of turns after the same two tools"),
    Feature("after_tool_output_high", "log tokens", "running 0.9 quantile of outputs after the same tool"),
    Feature(
        "recent_turn_log",
        "log turns",
        "recent turn numbers over all sessions; long sessions raise it",
    ),
)
TURN_FEATURES = (
    *_SCALARS,
    *bucket_features("last_tool", TOOL_BUCKETS, "the session's last tool"),
    *bucket_features("since", TOOL_BUCKETS, "turns since the session's last call of a tool", "turns"),
    *bucket_features("used", TOOL_BUCKETS, "calls of a tool by the session", "calls"),
    *bucket_features("last_head", TOOL_BUCKETS, "head of the session's last call's arguments"),
    *bucket_features("tail", TAIL_BUCKETS, "uni- and bigrams of the prompt's tail", "n-grams"),
)
TAIL_AT = len(_SCALARS) + 4 * TOOL_BUCKETS
_NO_TOOL = [0.0] * TOOL_BUCKETS
_NO_TAIL = [NAN] * TAIL_BUCKETS


def turn_features(facts: TurnFacts, session: SessionHistory, shared: SharedHistory) -> NDArray[np.float32]:
    """Vector of shape (len(TURN_FEATURES),), in their order; NaN for unknown values."""
    outputs, pauses, tool = session.output_tokens, session.pause_s, session.last_tool
    prompt_tokens, context_tokens = facts.prompt_tokens, session.context_tokens
    after = shared.after_tool_output.of(tool)
    if tool is not None and session.last_head is not None:
        after_mean, after_spread, after_high = fall_back(
            shared.all_output, after, shared.after_call_output.of((tool, session.last_head))
        )
    else:
        after_mean, after_spread, after_high = fall_back(shared.all_output, after)
    recent = shared.all_output if session.tenant is None else shared.tenant_output.of(session.tenant)
    row = [
        prompt_tokens,
        prompt_tokens - context_tokens,
        min(context_tokens, prompt_tokens),
        facts.turn,
        _or_nan(facts.max_tokens),
        _or_nan(facts.temperature),
        _or_nan(facts.top_p),
        _or_nan(facts.structured),
        _or_nan(facts.tools_offered),
        len(session.tools),
        session.calls,
        session.last_calls,
        session.same_tool_turns,
        _or_nan(session.last_argument_bytes),
        session.argument_bytes,
        session.first_prompt_log2,
        session.new_tokens,
        outputs.last,
        outputs.before_last,
        outputs.mean,
        outputs.greatest,
        outputs.total,
        pauses.last,
        pauses.mean,
        pauses.total,
        NAN if tool is None else shared.tool_s.of(tool).mean,
        (recent if recent.count else shared.all_output).mean,
        after_mean,
        after_spread,
        session.recent_output.mean,
        NAN if tool is None else shared.after_pair_output.of((session.tool_before_last, tool)).mean,
        after_high,
        shared.all_turns.mean,
    ]
    row += _NO_TOOL if tool is None else _one_hot(tool)
    count = outputs.count
    row += [count - turn for turn in session.tool_turns]
    row += session.tool_counts
    row += _NO_TOOL if session.last_head is None else _one_hot(session.last_head)
    row += _NO_TAIL if facts.tail is None else facts.tail
    return np.array(row, np.float32)


def _or_nan(value: float | None) -> float:
    return NAN if value is None else value


def _one_hot(name: str) -> list[float]:
    row = _NO_TOOL.copy()
    row[bucket(name, TOOL_BUCKETS)] = 1.0
    return row
