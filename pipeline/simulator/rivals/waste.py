"""Memory wasted over a tool call, token·seconds, by what becomes of the context: InferCept's equations.

Abhyankar et al. (ICML 2024, arXiv 2402.01869; see infercept.py), section 4. Swapping is left out: no policy here
decides on it. Where the engine has host memory, vLLM's offloading connector moves contexts for all policies alike.
"""

import math

from ....models.serving.settings import StepTime


def forward_s(step: StepTime, tokens: float) -> float:
    """T_fwd(n): time of a step that computes so many tokens."""
    return step.base_s + step.per_prefill_token_s * tokens


def preserve_waste(pause_s: float, context_tokens: float) -> float:
    """The context is held for the pause and does nothing."""
    return pause_s * context_tokens


def discard_waste(step: StepTime, context_tokens: float, other_tokens: float, chunk_tokens: float) -> float:
    """The context is computed again in chunks of `chunk_tokens`, what decodes leave of a step, while the running
    requests' `other_tokens` wait: f·(1+n)·n/2·c + f·n·C_other, n = ⌈C/c⌉ − 1, f = T_fwd(c), and then the rest."""
    if context_tokens <= 0:
        return 0.0
    full = math.ceil(context_tokens / chunk_tokens) - 1
    chunk_s = forward_s(step, chunk_tokens)
    rest_s = forward_s(step, context_tokens - full * chunk_tokens)
    held = chunk_s * (1 + full) * full / 2 * chunk_tokens + rest_s * context_tokens
    return held + (chunk_s * full + rest_s) * other_tokens


def remaining_pause_s(expected_s: float, elapsed_s: float) -> float:
    """What is left of a pause; one that has outlasted its prediction is taken to last as long again."""
    return expected_s - elapsed_s if elapsed_s < expected_s else elapsed_s
