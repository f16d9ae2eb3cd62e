"""What keeping a paused context is worth. Pure formulas, without vLLM.

C is the context, K the KV cache, both in tokens; T_fwd(C) is the engine time to compute the context again. Keeping the
context for d seconds takes the share C/K of the memory for d, and saves T_fwd(C). Where vLLM offloads KV blocks to host
memory, keeping saves only the time to load the context.
"""

from ...models.serving.settings import SchedulerSettings, StepTime
from ..queueing.value import prefill_s
from ..sessions.live_turn import Forecast

CONTINUING_TURNS = 1.5
"""Remaining turns, the present one included, from which a session counts as continuing: the forecast is a median."""


def restore_cost(step: StepTime, loads: bool) -> float:
    """What it costs to restore a token of an evicted context, as a share of computing it: 1 if it is computed again,
    less if vLLM `loads` it from host memory at a known bandwidth."""
    if not loads or not step.per_loaded_token_s:
        return 1.0
    return min(step.per_loaded_token_s / max(step.per_prefill_token_s, 1e-12), 1.0)


def admitted_share(share: float, restore: float) -> float:
    """Share of the cache to which contexts are admitted. The rest is for growth; the less it costs to restore what
    growth evicts, the less is left free. 0: off."""
    return share and 1.0 - (1.0 - share) * restore


class ContextWorth:
    """Worth of contexts on an engine with `capacity_tokens` of KV cache; times in seconds."""

    def __init__(self, settings: SchedulerSettings, capacity_tokens: int, loads: bool = False) -> None:
        """`loads`: whether vLLM loads evicted contexts from host memory."""
        self._keep = settings.residency.keep
        self._loaded_token_s = settings.step_time.per_loaded_token_s if loads else 0.0
        self._step = settings.step_time
        self._capacity_tokens = capacity_tokens

    def continues(self, forecast: Forecast | None) -> bool:
        """Whether another turn of the session is expected; so it is without a forecast."""
        return forecast is None or forecast.remaining_turns >= CONTINUING_TURNS

    def lasts_s(self, context_tokens: int) -> float:
        """The longest pause over which keeping costs less than restoring: (C/K)·d < keep·T_fwd(C)."""
        return self._keep * self._restore_s(context_tokens) * self._capacity_tokens / max(context_tokens, 1)

    def waste(self, pause_s: float, paused_s: float, context_tokens: int) -> float:
        """Memory times the expected rest of the pause, over the time to restore the context.

        The pause was forecast at `pause_s` and has lasted `paused_s`.

        The context with the largest waste is released first: it saves the least for its memory.
        """
        return expected_rest_s(pause_s, paused_s) * context_tokens / self._restore_s(context_tokens)

    def _restore_s(self, tokens: int) -> float:
        computed_s = prefill_s(self._step, float(tokens), float(tokens))
        return max(min(self._loaded_token_s * tokens or computed_s, computed_s), 1e-9)


def expected_rest_s(pause_s: float, paused_s: float) -> float:
    """Expected rest of a pause. A pause that outlasts its forecast is expected to last as long again."""
    return pause_s - paused_s if paused_s < pause_s else paused_s
