"""Context policy: which contexts are worth pinning over a tool call. Pure decisions, without vLLM.

Least waste, after InferCept (arXiv 2402.01869), in token·seconds of KV memory: waste_preserve = d̂·C and
waste_discard = T_fwd(C)·(C + C_other), with C the context, d̂ the expected rest of the pause and C_other the tokens of
the running requests.
"""

from ...models.serving.settings import SchedulerSettings
from ..sessions.live_turn import Forecast

CONTINUING_TURNS = 1.5
"""Remaining turns, the present one included, from which a session counts as continuing: the forecast is a median."""


class ContextPolicy:
    """Decides by `settings.retention`; times in seconds."""

    def __init__(self, settings: SchedulerSettings) -> None:
        self._retention = settings.retention
        self._step = settings.step_time
        self.longest_wait_s = settings.slo.ttft_s * max(settings.retention.ttl_factor, 1.0)
        """How long blocks stay pinned for a turn that has arrived and is not scheduled."""

    def max_blocks(self, capacity_blocks: int) -> int:
        """Blocks that may be pinned in total."""
        return int(self._retention.max_share * capacity_blocks)

    def is_worth_pinning(self, forecast: Forecast, context_tokens: int, running_tokens: float) -> bool:
        """Whether to pin a turn's context as the turn finishes."""
        if forecast.remaining_turns < CONTINUING_TURNS or context_tokens < self._retention.min_tokens:
            return False
        return not self.is_excessive(self.waste(forecast.pause_s, 0.0, context_tokens, running_tokens))

    def is_excessive(self, waste: float) -> bool:
        """Whether a pin of this waste should be released, even in an idle engine: its session may have ended. The limit
        may exceed 1, because pins are released before they block anything."""
        return waste >= self._retention.max_waste

    def time_to_live_s(self, pause_s: float) -> float:
        return self._retention.ttl_factor * pause_s

    def waste(self, pause_s: float, paused_s: float, context_tokens: int, running_tokens: float) -> float:
        """waste_preserve / waste_discard after `paused_s` of a pause forecast at `pause_s`. The pin with the largest
        waste is released first: it saves the least for its memory."""
        preserve = expected_rest_s(pause_s, paused_s) * context_tokens
        forward_s = self._step.base_s + self._step.per_prefill_token_s * context_tokens
        discard = forward_s * (context_tokens + running_tokens)
        return preserve / discard if discard > 0 else float("inf")


def expected_rest_s(pause_s: float, paused_s: float) -> float:
    """Expected rest of a pause. A pause that outlasts its forecast is expected to last as long again."""
    return pause_s - paused_s if paused_s < pause_s else paused_s
