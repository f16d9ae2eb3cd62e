"""What keeping a paused context is worth. Pure formulas, without vLLM.

C is the context, K the KV cache, both in tokens; T_fwd(C) is the engine time to compute the context again. Keeping the
context for d seconds takes the share C/K of the memory for d, and saves T_fwd(C).
"""

from ...models.serving.settings import SchedulerSettings
from ..queueing.value import prefill_s
from ..sessions.live_turn import Forecast

CONTINUING_TURNS = 1.5
"""Remaining turns, the present one included, from which a session counts as continuing: the forecast is a median."""


class ContextWorth:
    """Worth of contexts on an engine with `capacity_tokens` of KV cache; times in seconds."""

    def __init__(self, settings: SchedulerSettings, capacity_tokens: int) -> None:
        self._keep = settings.residency.keep
        self._step = settings.step_time
        self._capacity_tokens = capacity_tokens

    def continues(self, forecast: Forecast | None) -> bool:
        """Whether another turn of the session is expected; so it is without a forecast."""
        return forecast is None or forecast.remaining_turns >= CONTINUING_TURNS

    def lasts_s(self, context_tokens: int) -> float:
        """The longest pause over which keeping costs less than computing again: (C/K)·d < keep·T_fwd(C)."""
        return self._keep * self._forward_s(context_tokens) * self._capacity_tokens / max(context_tokens, 1)

    def waste(self, pause_s: float, paused_s: float, context_tokens: int) -> float:
        """Memory times the expected rest of the pause over T_fwd(C), after `paused_s` of a pause forecast at `pause_s`.

        The context with the largest waste is released first: it saves the least for its memory.
        """
        return expected_rest_s(pause_s, paused_s) * context_tokens / self._forward_s(context_tokens)

    def _forward_s(self, tokens: int) -> float:
        return max(prefill_s(self._step, float(tokens)), 1e-9)


def expected_rest_s(pause_s: float, paused_s: float) -> float:
    """Expected rest of a pause. A pause that outlasts its forecast is expected to last as long again."""
    return pause_s - paused_s if paused_s < pause_s else paused_s
