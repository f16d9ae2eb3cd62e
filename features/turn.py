"""A turn at its arrival, as a feature vector."""

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
    """What is known of a turn when it arrives, beside its session's history. None: not told."""

    prompt_tokens: int
    turn: int  # from 0
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    structured: bool | None = None
    tools_offered: int | None = None
    tail: Sequence[int] | None = None  # `tail_counts` of the prompt


_SCALARS = (
    Feature("prompt_tokens", "tokens", "length of the prompt"),
    Feature("new_tokens", "tokens", "prompt tokens beyond the context of the session's last turn: its tool's result"),
    Feature(
        "cached_tokens",
        "tokens",
        "prompt tokens that the session's last turn left in the prefix cache, if they were not evicted since. What the "
        "cache really holds is another matter at admission, depends on the load, and is told of few traces: the value "
        "order reads it live (runtime/queueing/value.py)",
    ),
    Feature("turn", "turns", "number of the turn in its session, from 0"),
    Feature("max_tokens", "tokens", "the caller's limit on the output"),
    Feature("temperature", "1", "sampling temperature"),
    Feature("top_p", "1", "share of the probability that is sampled from"),
    Feature("structured", "0 or 1", "the output is bound by a grammar or schema"),
    Feature("tools_offered", "tools", "tools offered to the model"),
    Feature("tools_used", "tools", "different tools that the session has called"),
    Feature("tool_calls", "calls", "tool calls of the session so far"),
    Feature("last_calls", "calls", "tool calls that the session's last turn made at once"),
    Feature("same_tool_turns", "turns", "how many turns running the last tool was the same"),
    Feature("last_argument_bytes", "bytes", "size of the last call's arguments"),
    Feature("argument_bytes", "bytes", "size of the arguments of all the session's calls"),
    Feature(
        "first_prompt_log2",
        "log2 tokens",
        "prompt of the session's first finished turn, to half an octave: finer, it would be the session's fingerprint",
    ),
    Feature("last_new_tokens", "tokens", "new prompt tokens of the session's last turn"),
    Feature("last_output_tokens", "tokens", "output of the session's last turn"),
    Feature("before_last_output_tokens", "tokens", "output of the turn before that"),
    Feature("mean_output_tokens", "tokens", "mean output of the session's turns"),
    Feature("max_output_tokens", "tokens", "longest output of the session's turns"),
    Feature("total_output_tokens", "tokens", "all output of the session"),
    Feature("last_pause_s", "s", "from the end of the session's last turn to this arrival"),
    Feature("mean_pause_s", "s", "mean pause of the session"),
    Feature(
        "total_pause_s", "s", "all pauses of the session: its age without the engine's time, which load and model set"
    ),
    Feature("tool_log_s", "log s", "recent duration of the session's last tool, over all sessions"),
    Feature(
        "recent_output_log", "log tokens", "recent output of the tenant's turns; of all turns where it is not known"
    ),
    Feature(
        "after_tool_output_log",
        "log tokens",
        "recent output of turns that read a result of the same tool (and argument head), over all sessions",
    ),
    Feature("after_tool_spread", "log tokens", "mean deviation of these from their mean"),
    Feature("session_output_log", "log tokens", "recent output of the session's turns"),
    Feature("after_pair_output_log", "log tokens", "recent output of turns that the same two tools led to"),
    Feature("after_tool_output_high", "log tokens", "running 0.9 quantile of outputs that read the same tool's result"),
    Feature(
        "recent_turn_log",
        "log turns",
        "how far in their sessions the turns of all sessions were lately: of long sessions, many turns are late ones",
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
    """Vector of shape (len(TURN_FEATURES),), in their order; what is not known is NaN."""
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
        _known(facts.max_tokens),
        _known(facts.temperature),
        _known(facts.top_p),
        _known(facts.structured),
        _known(facts.tools_offered),
        len(session.tools),
        session.calls,
        session.last_calls,
        session.same_tool_turns,
        _known(session.last_argument_bytes),
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
    row += _NO_TOOL if tool is None else _one(tool)
    count = outputs.count
    row += [count - at for at in session.tool_turns]
    row += session.tool_counts
    row += _NO_TOOL if session.last_head is None else _one(session.last_head)
    row += _NO_TAIL if facts.tail is None else facts.tail
    return np.array(row, np.float32)


def _known(value: float | None) -> float:
    return NAN if value is None else value


def _one(name: str) -> list[float]:
    row = _NO_TOOL.copy()
    row[bucket(name, TOOL_BUCKETS)] = 1.0
    return row
