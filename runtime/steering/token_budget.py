"""The token budget of a step, steered by the step time that is measured."""

from ...models.serving.settings import BudgetGains, StepTime

IDLE_S = 5.0
"""Without a decode for so long, the past says nothing about the load that comes."""
DRAIN_S = 1.0
"""Late turns of so much engine time at most can be cleared; a longer backlog is an overload, and to work on it would
make more turns late."""
FULL_STEP = 0.8
"""Share of the SLO's TPOT that a step of the least budget may take, with the decodes in it."""
LEAST_PREFILL = 16
"""Tokens beside the decodes in any case, as far as vLLM's own budget goes, so that prompts never stand still."""


class TokenBudget:
    """Proportional-integral control of the share of the configured budget that a step may use.

    A step that takes longer than the target lowers the share, a shorter one raises it. The integral part moves only
    where the share is not already at its bound in that direction (anti-windup). With no decode running there is
    nobody to protect: the whole budget. While late turns wait that can be cleared, steps may take longer
    (`gains.drain_target`): short ones keep KV memory free under overload, but compute fewer prompts.

    The least budget is `min_tokens`, or less where a step of so many would break the SLO by itself: an engine that is
    slower than the one that it was tuned on, or that runs many decodes. By that it bounds the requests that run, too:
    what is left beside the decodes of a full step admits hardly anybody.
    """

    def __init__(self, gains: BudgetGains, tpot_s: float, step: StepTime, configured: int) -> None:
        """`tpot_s`: the SLO's; `configured`: tokens that vLLM was started with."""
        self._gains = gains
        self._tpot_s = tpot_s
        self._target_s = gains.target * tpot_s
        self._step = step
        self._configured = configured
        self._integral = 0.0
        self._share = 1.0
        self._measured_s = float("-inf")

    @property
    def drains(self) -> bool:
        """Whether late turns that wait can lengthen steps: else nobody needs to count what they would take."""
        return self._gains.drain_target > self._gains.target

    def measured(self, step_s: float, decodes: int, now_s: float) -> None:
        """Note a finished step: its time, and how many requests decoded in it (without any, it tells nothing)."""
        if decodes == 0:
            return
        if now_s - self._measured_s > IDLE_S:
            self._integral = 0.0
        self._measured_s = now_s
        error = (self._target_s - step_s) / self._target_s
        least = self._least(decodes) / self._configured
        stuck_high = self._share >= 1.0 and error > 0
        stuck_low = self._share <= least and error < 0
        if not stuck_high and not stuck_low:
            self._integral = min(max(self._integral + self._gains.integral * error, least - 1.0), 0.0)
        self._share = min(max(1.0 + self._integral + self._gains.proportional * min(error, 0.0), least), 1.0)

    def tokens(self, decode_tokens: int, now_s: float, late_s: float = 0.0) -> int:
        """Budget of the next step: never less than the `decode_tokens` that the running requests' decodes take, and
        LEAST_PREFILL more. `late_s`: engine time that the waiting turns that are late already would take; it matters
        only where this `drains`."""
        gains = self._gains
        target = gains.drain_target if self.drains and 0 < late_s <= DRAIN_S else gains.target
        self._target_s = target * self._tpot_s
        if decode_tokens == 0 or now_s - self._measured_s > IDLE_S:
            return self._configured
        least = self._least(decode_tokens)
        return min(max(round(self._share * self._configured), least, decode_tokens + LEAST_PREFILL), self._configured)

    def _least(self, decodes: int) -> int:
        step, prefill = self._step, self._configured
        if step.per_prefill_token_s:
            rest_s = FULL_STEP * self._tpot_s - step.base_s - step.per_decode_s * decodes
            prefill = max(int(rest_s / step.per_prefill_token_s), LEAST_PREFILL)
        return min(self._gains.min_tokens, decodes + prefill, self._configured)
