"""Capacity@90: the highest session rate at which at least 90 % of the turns meet the SLO."""

from collections.abc import Callable, Sequence

from .errors import SimulationError

ATTAINMENT = 0.9


def capacity(
    attainments: Callable[[Sequence[float]], Sequence[float]], low: float, high: float, rounds: int
) -> float | None:
    """Narrow [low, high] sessions/s to a third, `rounds` times; gives the highest rate found to reach ATTAINMENT.

    `attainments` gives the share of turns in time at each of two rates, so that both may run at once. Attainment is
    taken to fall with the rate. None: it was reached at no rate that was tried. Raises SimulationError for bounds out
    of order.
    """
    if not 0 < low < high:
        raise SimulationError(f"capacity: bounds {low} to {high} sessions/s must be positive and rise; correct them")
    best: float | None = None
    left, right = low, high
    for _ in range(rounds):
        rates = (left + (right - left) / 3, right - (right - left) / 3)
        reached = [rate for rate, share in zip(rates, attainments(rates), strict=True) if share >= ATTAINMENT]
        if rates[1] in reached:
            left = best = rates[1]
        elif rates[0] in reached:
            left, right = rates
            best = rates[0]
        else:
            right = rates[0]
    return best
