"""Recent engine time of each tenant, the measure of fairness between tenants."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ...models.serving.settings import StepTime
from ..sessions.live_turn import LiveTurn
from .value import prompt_s

SLOTS = 1024
"""Accounts, one a tenant. Beyond these, the tenant with the smallest account gives its slot to a new one."""
MEMORY_S = 60.0
"""Time in which an account decays to 1/e, so that neither credit nor debt lasts."""


class TenantService:
    """One account a slot: seconds of the engine's marginal time, charged as turns end, which decay exponentially.

    The tenant with the smallest account goes first. This is the virtual token counter of Sheng et al. (OSDI 2024,
    arXiv 2401.00588) in seconds; it needs no quantum, as deficit round robin would.
    """

    def __init__(self, step: StepTime, clock: Callable[[], float]) -> None:
        self.step = step
        self._clock = clock
        self._slots: dict[str, int] = {}
        self._accounts = np.zeros(SLOTS)
        self._updated_s = float("-inf")

    def slot_of(self, tenant: str | None) -> int:
        """Turns without a tenant share slot 0."""
        if tenant is None:
            return 0
        slot = self._slots.get(tenant)
        if slot is None:
            slot = self._slots[tenant] = self._free_slot()
        return slot

    def turn_ended(self, live: LiveTurn) -> None:
        """Charge the uncached part of the prompt and the output."""
        if live.first_token_s is None:
            return
        request = live.request
        prompt = request.num_prompt_tokens
        computed = max(prompt - (live.cached_tokens or 0), 0)
        token_s = self.step.per_decode_s + self.step.per_context_token_s * request.num_tokens
        self._decay(self._clock())
        self._accounts[self.slot_of(live.hints.tenant)] += (
            prompt_s(self.step, float(computed), float(prompt)) + token_s * request.num_output_tokens
        )

    def accounts(self, now_s: float) -> NDArray[np.float64] | None:
        """Seconds by slot at `now_s`, shape (SLOTS,), a read-only view; None while no tenant is known."""
        if not self._slots:
            return None
        self._decay(now_s)
        return self._accounts

    def _free_slot(self) -> int:
        if len(self._slots) + 1 < SLOTS:
            return len(self._slots) + 1
        smallest = min(self._slots, key=lambda tenant: float(self._accounts[self._slots[tenant]]))
        return self._slots.pop(smallest)

    def _decay(self, now_s: float) -> None:
        if now_s > self._updated_s > float("-inf"):
            self._accounts *= math.exp((self._updated_s - now_s) / MEMORY_S)
        self._updated_s = now_s  # may be earlier than before, if the clock was set back
