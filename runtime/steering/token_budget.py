"""The controller of a step's token budget, fed with measured step times."""

from ...models.serving.settings import BudgetGains, StepTime

IDLE_S = 5.0
"""After this time without a decode, past step times say nothing about the coming load."""
DRAIN_S = 1.0
"""Late turns with at most this much engine time can be cleared. A longer backlog is an overload, and longer steps
would only make more turns late."""
FULL_STEP = 0.8
"""Share of the SLO's TPOT that a step of the least budget may take, decodes included."""
LEAST_PREFILL = 16
"""Tokens beyond the decodes in every step, within vLLM's own budget, so that prompts always progress."""


class TokenBudget:
    """Proportional-integral control of the share of the configured budget that a step may use.

    A step that takes longer than the target lowers the share, a shorter one raises it. The integral part moves only
    where the share is not already at its bound in that direction (anti-windup). Without a decode running no TPOT is at
    stake, and the whole budget is used. While late turns wait that can be cleared, steps may take longer
    (`gains.drain_target`): short steps keep KV memory free under overload, but compute fewer prompts.

    The least budget is `min_tokens`, or less where a step of `min_tokens` would break the SLO by itself: an engine that
    is slower than the tuned one, or that runs many decodes. It also bounds the running requests, because what a full
    step leaves beyond the decodes admits hardly any.
    """

    def __init__(self, gains: BudgetGains, tpot_s: float, step: StepTime, configured: int) -> None:
        """`tpot_s`: of the SLO; `configured`: the token budget that vLLM was started with."""
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
        """Whether late waiting turns can lengthen steps; otherwise their engine time need not be counted."""
        return self._gains.drain_target > self._gains.target

    def measured(self, step_s: float, decodes: int, now_s: float) -> None:
        """Note a finished step: its time, and how many requests decoded in it. Steps without decodes are ignored."""
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
        """Budget of the next step: at least the `decode_tokens` of the running requests and LEAST_PREFILL more.
        `late_s`: engine time of the waiting turns that are late; read only if this `drains`."""
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
