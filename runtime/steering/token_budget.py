"""The controller of a step's token budget: how long the next step may take, and how many tokens that is."""

from collections.abc import Collection

from ...models.serving.settings import BudgetGains, StepTime
from .step_estimate import StepEstimate
from .tpot_slack import TpotSlack

FULL_STEP = 0.8
"""Share of the tightest TPOT slack that `prefill_share` may fill, decodes included."""
DRAIN_S = 1.0
"""Late turns with at most this much engine time can be cleared. A longer backlog is an overload, and longer steps would
only make more turns late."""
LEAST_PREFILL = 16
"""Prompt tokens beside the decodes in every step, within vLLM's own budget, so that prompts always progress."""
MISSES = 8
"""Steps in succession with at most LEAST_PREFILL prompt tokens that exceed the SLO's TPOT. So many are no stall."""


class TokenBudget:
    """The budget of each step from the time that the step may take: the longer of two, beside running decodes.

    - `slack_share` of the tightest TPOT slack among the decodes. Few decodes with long outputs have much slack, and
      leave the whole budget to a long prompt.
    - The time in which prompts take `prefill_share` of the step. The rest is the fixed time of a step with these
      decodes, so that this time follows the engine and its load. It never exceeds FULL_STEP of the slack.

    Short steps keep decodes fast and compute fewer prompts. So while late turns wait that can be cleared, the share of
    the slack is `drain_share`, where that is larger.

    A turn beyond the SLO's TPOT counts as one that is just within it. Without decodes the whole budget is used. Where
    decodes alone exceed the SLO's TPOT, no budget keeps it: prompts take `prefill_share` then, and do not starve.
    """

    def __init__(self, gains: BudgetGains, tpot_s: float, step: StepTime, configured: int) -> None:
        """`tpot_s`: the mean step time at which decodes just meet the SLO; `configured`: the token budget that vLLM was
        started with."""
        self._gains = gains
        self._tpot_s = tpot_s
        self._configured = configured
        self._estimate = StepEstimate(step, gains.correction)
        self._slack = TpotSlack(tpot_s)
        self._misses = 0

    def measured(self, step_s: float, prefill_tokens: int, decodes: int) -> None:
        """Note a finished step: its time and its size. Steps without decodes are ignored."""
        if decodes:
            self._slack.step_ended(step_s)
            self._estimate.measured(step_s, prefill_tokens, decodes)
            if prefill_tokens <= LEAST_PREFILL:
                self._misses = self._misses + 1 if step_s > self._tpot_s else 0

    def tokens(self, decodes: Collection[str], tokens_each: int = 1, late_s: float = 0.0) -> int:
        """Budget of the next step: at least `tokens_each` for each of the running decodes, and LEAST_PREFILL more.
        `late_s`: engine time of the waiting turns that are late."""
        slack_s = max(self._slack.tightest_s(decodes), self._tpot_s)
        if not decodes:
            return self._configured
        fixed_s = self._estimate.fixed_s(len(decodes))
        shared_s = fixed_s / (1.0 - self._gains.prefill_share)
        if self._misses < MISSES:
            shared_s = min(shared_s, FULL_STEP * slack_s)
        step_s = max(self._slack_share(late_s) * slack_s, shared_s)
        prefill = self._estimate.prefill_tokens(step_s - fixed_s, self._configured)
        return min(len(decodes) * tokens_each + max(prefill, LEAST_PREFILL), self._configured)

    def _slack_share(self, late_s: float) -> float:
        gains = self._gains
        return max(gains.slack_share, gains.drain_share) if 0.0 < late_s <= DRAIN_S else gains.slack_share
