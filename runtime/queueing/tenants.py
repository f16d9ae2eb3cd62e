"""Engine time that tenants have had of late: what fairness between them is judged by."""

import math
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ...models.serving.settings import StepTime
from ..sessions.live_turn import LiveTurn

SLOTS = 1024
"""Tenants are told apart by a hash; two that share a slot share its account."""
MEMORY_S = 60.0
"""After so long an account has fallen to 1/e: no tenant saves up time, and none is punished for ever."""


class TenantService:
    """One account a slot, seconds of the engine's marginal time, which fade. Charged as turns end."""

    def __init__(self, step: StepTime, clock: Callable[[], float]) -> None:
        self._step = step
        self._clock = clock
        self._accounts = np.zeros(SLOTS)
        self._charged_s = float("-inf")

    def turn_arrived(self, live: LiveTurn) -> None:
        """Costs nothing yet."""

    def turn_ended(self, live: LiveTurn) -> None:
        """Charge what the turn computed: its prompt but for what was cached, and its output."""
        if live.first_token_s is None:
            return
        request = live.request
        computed = max(request.num_prompt_tokens - (live.cached_tokens or 0), 0)
        a_token_s = self._step.per_decode_s + self._step.per_context_token_s * request.num_tokens
        self._fade(self._clock())
        self._accounts[slot_of(live.hints.tenant)] += (
            self._step.per_prefill_token_s * computed + a_token_s * request.num_output_tokens
        )

    def accounts(self, now_s: float) -> NDArray[np.float64]:
        """Seconds by slot, as of now; a view, not to be written."""
        self._fade(now_s)
        return self._accounts

    def _fade(self, now_s: float) -> None:
        if now_s > self._charged_s > float("-inf"):
            self._accounts *= math.exp((self._charged_s - now_s) / MEMORY_S)
        self._charged_s = now_s  # the clock may have been set back: they fade on from there


def slot_of(tenant: str | None) -> int:
    """Those that name no tenant are one."""
    return 0 if tenant is None else 1 + zlib.crc32(tenant.encode()) % (SLOTS - 1)
