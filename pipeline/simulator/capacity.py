"""Capacity@90: the highest session rate at which at least 90 % of the turns meet the SLO."""

from collections.abc import Callable, Sequence

from .errors import SimulationError

ATTAINMENT = 0.9
BRACKET_TRIES = 8
BRACKET_STEP = 4.0  # from one bound to the other


def capacity(
    attainments: Callable[[Sequence[float]], Sequence[float]], low: float, high: float, rounds: int
) -> float | None:
    """Narrow [low, high] sessions/s to a third, `rounds` times; gives the highest rate found to reach ATTAINMENT.

    `attainments` gives the share of turns in time at each of two rates, so that both may run at once. Attainment is
    taken to fall with the rate. None: it was reached at no rate that was tried. Raises SimulationError for bounds out
    of order.
    """
    _require_order(low, high)
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


def bisect(attainment: Callable[[float], float], low: float, high: float, rounds: int) -> float | None:
    """Halve [low, high] sessions/s, `rounds` times, after trying neither bound; else as `capacity`.

    For searches that run side by side: it needs fewer simulations than `capacity`, one after the other.
    """
    _require_order(low, high)
    best: float | None = None
    for _ in range(rounds):
        middle = (low + high) / 2
        if attainment(middle) >= ATTAINMENT:
            low = best = middle
        else:
            high = middle
    return best


def _require_order(low: float, high: float) -> None:
    if not 0 < low < high:
        raise SimulationError(f"capacity: bounds {low} to {high} sessions/s must be positive and rise; correct them")


def bracket(attainments: Callable[[Sequence[float]], Sequence[float]], guess_per_s: float) -> tuple[float, float]:
    """Bounds to search a capacity in of which not even the order is known: at the lower one ATTAINMENT is reached, at
    the upper one not. Raises SimulationError where no such pair is found from far below to far above the guess."""
    low, high = guess_per_s / 2, guess_per_s / 2 * BRACKET_STEP
    for _ in range(BRACKET_TRIES):
        at_low, at_high = attainments((low, high))
        if at_low < ATTAINMENT:
            low, high = low / BRACKET_STEP, low
        elif at_high >= ATTAINMENT:
            low, high = high, high * BRACKET_STEP
        else:
            return low, high
    raise SimulationError(
        f"capacity: no rate from {guess_per_s:.3g} to {high:.3g} sessions/s is where the SLO begins to be missed; "
        "leave the workload out or relax the SLO"
    )
