"""A turn at its arrival, as a feature vector."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .feature import Feature, bucket, bucket_features
from .history import NAN, SessionHistory, ToolHistory

TOOL_BUCKETS = 16
TAIL_TOKENS = 48
TAIL_BUCKETS = 32


@dataclass(frozen=True, slots=True)
class TurnFacts:
    """What is known of a turn when it arrives, beside its session's history."""

    prompt_tokens: int
    turn: int  # from 0
    max_tokens: int
    temperature: float
    structured: bool
    tools_offered: int | None  # None: not told
    tail_token_ids: Sequence[int]  # the prompt's last tokens, at least TAIL_TOKENS of them where it has as many


_SCALARS = (
    Feature("prompt_tokens", "tokens", "length of the prompt"),
    Feature("new_tokens", "tokens", "prompt tokens beyond the context of the session's last turn"),
    Feature("turn", "turns", "number of the turn in its session, from 0"),
    Feature("max_tokens", "tokens", "the caller's limit on the output"),
    Feature("temperature", "1", "sampling temperature"),
    Feature("structured", "0 or 1", "the output is bound by a grammar or schema"),
    Feature("tools_offered", "tools", "tools offered to the model"),
    Feature("last_output_tokens", "tokens", "output of the session's last turn"),
    Feature("mean_output_tokens", "tokens", "mean output of the session's turns"),
    Feature("last_tool_s", "s", "duration of the session's last tool call"),
    Feature("mean_tool_s", "s", "mean duration of the session's tool calls"),
    Feature("tool_log_s", "log s", "recent duration of the session's last tool, over all sessions"),
)
TURN_FEATURES = (
    *_SCALARS,
    *bucket_features("last_tool", TOOL_BUCKETS, "the session's last tool"),
    *(
        Feature(f"tail_{i}", "n-grams", f"uni- and bigrams of the prompt's tail in hash bucket {i}")
        for i in range(TAIL_BUCKETS)
    ),
)
_TOOL_AT = len(_SCALARS)
_TAIL_AT = _TOOL_AT + TOOL_BUCKETS


def turn_features(facts: TurnFacts, session: SessionHistory, tools: ToolHistory) -> NDArray[np.float32]:
    """Vector of shape (len(TURN_FEATURES),), in their order; what is not known is NaN."""
    row = np.zeros(len(TURN_FEATURES), np.float32)
    row[:_TOOL_AT] = (
        facts.prompt_tokens,
        facts.prompt_tokens - session.context_tokens,
        facts.turn,
        facts.max_tokens,
        facts.temperature,
        facts.structured,
        NAN if facts.tools_offered is None else facts.tools_offered,
        session.output_tokens.last,
        session.output_tokens.mean,
        session.tool_duration_s.last,
        session.tool_duration_s.mean,
        tools.log_duration_s(session.last_tool),
    )
    if session.last_tool is not None:
        row[_TOOL_AT + bucket(session.last_tool, TOOL_BUCKETS)] = 1.0
    row[_TAIL_AT:] = tail_counts(facts.tail_token_ids)
    return row


def tail_counts(token_ids: Sequence[int]) -> NDArray[np.int64]:
    """Counts of hashed uni- and bigrams (multiplicative hashing, Knuth's constant)."""
    ids = np.asarray(token_ids[-TAIL_TOKENS:], np.uint64)
    unigrams = (ids * np.uint64(2654435761)) >> np.uint64(7)
    bigrams = (ids[:-1] * np.uint64(2654435761) + ids[1:] * np.uint64(40503)) >> np.uint64(5)
    return np.bincount(np.concatenate((unigrams, bigrams)) % np.uint64(TAIL_BUCKETS), minlength=TAIL_BUCKETS)
