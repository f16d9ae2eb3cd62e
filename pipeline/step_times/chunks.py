"""The prompt chunks of recorded steps: their attention takes longer the longer the context is."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

SAME_S = 1e-3
"""A step that begins so soon before a token began after it: steps that are scheduled ahead follow without a gap."""


@dataclass(frozen=True, slots=True)
class PromptChunks:
    """The prompt chunks of each step together, each of shape (steps,); see `PrefillAttention`."""

    pairs: NDArray[np.float64]  # query-key pairs
    kv_tokens: NDArray[np.float64]  # KV tokens of the chunks, with their own


def prompt_chunks(begins_s: NDArray[np.float64], steps: pa.Table, turns: pa.Table) -> PromptChunks:
    """The chunks of `steps`, in the order in which they begin to run.

    A trace has each turn's prompt and each step's prompt tokens, but no chunks. The last chunk of a prompt is in the
    step that ran before the first token; what exceeds that step's prompt tokens is in the steps before.
    """
    left = steps.column("prefill_tokens").to_numpy().astype(np.int64)
    found = PromptChunks(np.zeros(len(begins_s)), np.zeros(len(begins_s)))
    answered = (row for row in turns.to_pylist() if row["first_token_s"] is not None)
    for turn in sorted(answered, key=lambda turn: float(turn["first_token_s"])):
        end, first = turn["prompt_tokens"], turn["cached_tokens"] or 0
        step = int(np.searchsorted(begins_s, turn["first_token_s"] - SAME_S)) - 1
        arrived = int(np.searchsorted(begins_s, turn["arrival_s"]))
        while end > first and step >= arrived:
            tokens = min(end - first, int(left[step]))
            if tokens:
                found.pairs[step] += tokens * (end - tokens / 2)
                found.kv_tokens[step] += end
            left[step] -= tokens
            end, step = end - tokens, step - 1
    return found
