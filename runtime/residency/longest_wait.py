"""Admission for those who wait longest: a share of all admissions, and a bound on the wait.

The share keeps the longest wait near that of first come, first served: with a share of a tenth, at most ten times as
many are admitted before a turn. No order bounds a wait by itself, for a session may hold its memory as long as it
likes. So a turn goes in without room if light turns have taken what it needs, and if it is overdue, for a share of the
time.
"""


class Admissions:
    """Which admission goes to the turn that has waited longest."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._credit = 0.0

    @property
    def longest_is_next(self) -> bool:
        return self._credit >= 1.0

    def admitted(self, longest: bool) -> None:
        """Note an admission, `longest` if it was that of the longest wait. No more than one is owed."""
        self._credit = min(self._credit + self._share - (1.0 if longest else 0.0), 1.0)


class PassedOver:
    """Lets the turn that has been held longest in once light turns have come past it that need as many blocks.

    Light turns are never held. A stream of them would take every block that becomes free.
    """

    def __init__(self) -> None:
        self._blocks = 0

    def came(self, blocks: int) -> None:
        """Note light turns that came while a turn is held, and that need so many blocks."""
        self._blocks += blocks

    def is_due(self, blocks: int) -> bool:
        """Whether the turn that has been held longest goes in now; it needs so many blocks."""
        return self._blocks >= blocks

    def restart(self) -> None:
        """The turn that was held longest went in, or none is held."""
        self._blocks = 0


class OverdueAdmissions:
    """Lets a turn in that has waited for `longest_wait_s`, whatever room there is, unless the account is overdrawn.

    Each such admission is debited with the engine time that it costs; the account is credited with `share` of the time,
    and saves nothing. A turn that arrives behind others goes in within `bound_s` of the sum of all their costs.
    """

    def __init__(self, longest_wait_s: float, share: float) -> None:
        self._longest_wait_s = longest_wait_s
        self._share = share
        self._debt_s = 0.0
        self._seen_s = float("-inf")
        self._longest_since_s = float("inf")

    def is_due(self, waiting_since_s: float, now_s: float) -> bool:
        """Whether the turn that waits longest, since `waiting_since_s`, goes in now."""
        if self._debt_s and now_s > self._seen_s:
            self._debt_s = max(self._debt_s - self._share * (now_s - self._seen_s), 0.0)
        self._seen_s, self._longest_since_s = now_s, waiting_since_s
        return not self._debt_s and now_s - waiting_since_s > self._longest_wait_s

    def looks_again_s(self, now_s: float) -> float:
        """When the turn that waits longest will be due."""
        return max(now_s + self._debt_s / self._share, self._longest_since_s + self._longest_wait_s)

    def admitted(self, cost_s: float) -> None:
        self._debt_s += cost_s

    def bound_s(self, costs_s: float) -> float:
        """The longest wait of a turn that arrives now; `costs_s`: of it and of all that wait before it."""
        return self._longest_wait_s + (self._debt_s + costs_s) / self._share
