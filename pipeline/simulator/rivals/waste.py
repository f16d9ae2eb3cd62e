"""Memory wasted during a tool call, in token·seconds: the equations of InferCept (arXiv 2402.01869), section 4.

Swapping is left out because no policy here decides on it. If the engine has host memory, vLLM's offloading connector
moves contexts for all policies alike.
"""

import math

from ....models.serving.settings import StepTime
from ....runtime.queueing.value import prefill_s


def preserve_waste(pause_s: float, context_tokens: float) -> float:
    """The context occupies memory for the whole pause."""
    return pause_s * context_tokens


def discard_waste(step: StepTime, context_tokens: float, running_tokens: float, chunk_tokens: float) -> float:
    """The context is recomputed in chunks while the running requests wait.

    Waste of the n = ⌈C/c⌉ − 1 full chunks: f·(1+n)·n/2·c + f·n·C_other with f = T_fwd(c), plus that of the last chunk.
    `chunk_tokens` (c) is the token budget that decodes leave. f is the mean of the chunks.
    """
    if context_tokens <= 0:
        return 0.0
    full = math.ceil(context_tokens / chunk_tokens) - 1
    chunk_s = prefill_s(step, chunk_tokens, (full + 1) * chunk_tokens / 2)
    rest_s = prefill_s(step, context_tokens - full * chunk_tokens, context_tokens)
    own = chunk_s * (1 + full) * full / 2 * chunk_tokens + rest_s * context_tokens
    return own + (chunk_s * full + rest_s) * running_tokens
