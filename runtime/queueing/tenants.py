"""Recent engine time of each tenant, the measure of fairness between tenants."""

import math
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ...models.serving.settings import StepTime
from ..sessions.live_turn import LiveTurn

SLOTS = 1024
"""A tenant's slot is a hash of its name; two tenants in one slot share its account."""
MEMORY_S = 60.0
"""Time in which an account decays to 1/e, so that neither credit nor debt lasts."""


class TenantService:
    """One account a slot: seconds of the engine's marginal time, charged as turns end, which decay exponentially."""

    def __init__(self, step: StepTime, charged: bool, clock: Callable[[], float]) -> None:
        """`charged`: False leaves all accounts at 0."""
        self._step = step
        self._charged = charged
        self._clock = clock
        self._accounts = np.zeros(SLOTS)
        self._updated_s = float("-inf")

    def turn_ended(self, live: LiveTurn) -> None:
        """Charge the uncached part of the prompt and the output."""
        if not self._charged or live.first_token_s is None:
            return
        request = live.request
        computed = max(request.num_prompt_tokens - (live.cached_tokens or 0), 0)
        token_s = self._step.per_decode_s + self._step.per_context_token_s * request.num_tokens
        self._decay(self._clock())
        self._accounts[slot_of(live.hints.tenant)] += (
            self._step.per_prefill_token_s * computed + token_s * request.num_output_tokens
        )

    def accounts(self, now_s: float) -> NDArray[np.float64]:
        """Seconds by slot at `now_s`, shape (SLOTS,); a read-only view."""
        self._decay(now_s)
        return self._accounts

    def _decay(self, now_s: float) -> None:
        if now_s > self._updated_s > float("-inf"):
            self._accounts *= math.exp((self._updated_s - now_s) / MEMORY_S)
        self._updated_s = now_s  # may be earlier than before, if the clock was set back


def slot_of(tenant: str | None) -> int:
    """Turns without a tenant share slot 0."""
    return 0 if tenant is None else 1 + zlib.crc32(tenant.encode()) % (SLOTS - 1)
