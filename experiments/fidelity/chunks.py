"""The prompt chunks of recorded steps: their attention takes longer the longer the context is."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def prompt_pairs(steps: pa.Table, turns: pa.Table) -> NDArray[np.float64]:
    """Query-key pairs of the prompt chunks of each step, see `PrefillAttention`.

    A trace has each turn's prompt and each step's prompt tokens, but no chunks. The last chunk of a prompt is in the
    step before the first token; what exceeds that step's prompt tokens is in the steps before.
    """
    start_s = steps.column("start_s").to_numpy()
    left = steps.column("prefill_tokens").to_numpy().astype(np.int64)
    pairs = np.zeros(len(start_s))
    answered = (row for row in turns.to_pylist() if row["first_token_s"] is not None)
    for turn in sorted(answered, key=lambda turn: float(turn["first_token_s"])):
        end, first = turn["prompt_tokens"], turn["cached_tokens"] or 0
        step = int(np.searchsorted(start_s, turn["first_token_s"])) - 1
        arrived = int(np.searchsorted(start_s, turn["arrival_s"]))
        while end > first and step >= arrived:
            tokens = min(end - first, int(left[step]))
            pairs[step] += tokens * (end - tokens / 2)
            left[step] -= tokens
            end, step = end - tokens, step - 1
    return pairs
