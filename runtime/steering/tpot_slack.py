"""How long a step may take before a decoding turn exceeds the SLO's TPOT."""

from collections.abc import Iterable


class TpotSlack:
    """The slack of the running decodes: tpot_s · (tokens since the first one) - time since the first token.

    Each step gives each decode a token, so that it moves all slacks by the same `tpot_s` - step time. One sum over the
    steps, and its value when each decode began, hence hold all slacks.
    """

    def __init__(self, tpot_s: float) -> None:
        self._tpot_s = tpot_s
        self._sum_s = 0.0
        self._began_at_s: dict[str, float] = {}  # the sum at the first step of each running decode

    def step_ended(self, step_s: float) -> None:
        """Note a finished step in which the running decodes got a token."""
        self._sum_s += self._tpot_s - step_s

    def tightest_s(self, decodes: Iterable[str]) -> float:
        """The longest time of the next step after which each of the decodes, given by request, still meets the SLO.

        A decode that is new, or that returns after a preemption, starts with `tpot_s`. Infinite without decodes.
        """
        before, now_s = self._began_at_s, self._sum_s
        self._began_at_s = {request_id: before.get(request_id, now_s) for request_id in decodes}
        if not self._began_at_s:
            return float("inf")
        return self._tpot_s + now_s - max(self._began_at_s.values())
