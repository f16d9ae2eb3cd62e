"""Context policy: whether the KV cache of a session is kept over its tool call. Pure decisions, nothing of vLLM.

Least waste, after InferCept, in token·seconds of KV memory: waste_preserve = d̂·C and
waste_discard = T_fwd(C)·(C + C_other), with C the context, d̂ what is expected of the pause from now on, C_other the
tokens of the running requests.
"""

from ...models.serving.settings import SchedulerSettings
from ..sessions.live_turn import Forecast

GOES_ON_TURNS = 1.5
"""Remaining turns, this one counted, from which a session is taken to go on: the forecast is a median, no count."""


class ContextPolicy:
    """Decides by `settings.retention`; every time in seconds."""

    def __init__(self, settings: SchedulerSettings) -> None:
        self._retention = settings.retention
        self._step = settings.step_time

    def share(self, capacity_blocks: int) -> int:
        """Blocks that may be kept in all."""
        return int(self._retention.max_share * capacity_blocks)

    def preserves(self, forecast: Forecast, context_tokens: int, running_tokens: float) -> bool:
        """Whether a turn's context is worth keeping as the turn finishes."""
        if forecast.remaining_turns < GOES_ON_TURNS or context_tokens < self._retention.min_tokens:
            return False
        return not self.wastes(self.waste(forecast.pause_s, 0.0, context_tokens, running_tokens))

    def wastes(self, waste: float) -> bool:
        """Whether that is too much. What is kept gives way first, so that it may be more than 1: memory that nothing
        else needs would hold contexts of sessions that have ended, which nobody asks for again."""
        return waste >= self._retention.max_waste

    def time_to_live_s(self, pause_s: float) -> float:
        return self._retention.ttl_factor * pause_s

    def waste(self, pause_s: float, paused_s: float, context_tokens: int, running_tokens: float) -> float:
        """waste_preserve over waste_discard, as seen after `paused_s` of a pause forecast at `pause_s`. The largest
        gives way first: it brings least for the memory that it takes."""
        preserve = expected_rest_s(pause_s, paused_s) * context_tokens
        forward_s = self._step.base_s + self._step.per_prefill_token_s * context_tokens
        discard = forward_s * (context_tokens + running_tokens)
        return preserve / discard if discard > 0 else float("inf")


def expected_rest_s(pause_s: float, paused_s: float) -> float:
    """What is left of a pause: of a forecast that has proved too short, as much again as has passed."""
    return pause_s - paused_s if paused_s < pause_s else paused_s
