"""Capacity@90: the highest session rate at which at least 90 % of the turns meet the SLO."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from ..errors import SimulationError

ATTAINMENT = 0.9
BRACKET_TRIES = 8
BRACKET_STEP = 4.0  # ratio of the two bounds
FLOOR, CAP = 0.5, 4.0
"""Bounds of a narrowed capacity, in units."""
STEP_UP = 1.5  # ratio of two rates while no rate has missed
ROUNDING = 1 + 1e-9


@dataclass(frozen=True, slots=True)
class Bracket:
    """Bounds of a capacity from the rates that were tried, sessions/s. None: no such rate."""

    reached: float | None  # the highest rate at which ATTAINMENT was reached
    missed: float | None  # the lowest rate above it at which it was not


def capacity(
    attainments: Callable[[Sequence[float]], Sequence[float]], low: float, high: float, rounds: int
) -> float | None:
    """The highest rate that reached ATTAINMENT in `rounds` rounds of ternary search in [low, high] sessions/s, or None.

    `attainments` returns the SLO attainments of two rates, which may run in parallel. Attainment is assumed to fall
    with the rate. Raises SimulationError unless 0 < low < high.
    """
    if not 0 < low < high:
        raise SimulationError(f"capacity: bounds {low} to {high} sessions/s are not positive and rising; correct them")
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


def narrow(
    attainment: Callable[[float], float], shown: Mapping[float, float], unit_per_s: float, within: float
) -> Bracket:
    """Narrow a capacity to `within` of a unit, given the attainments `shown` by rate. All rates are sessions/s.

    If no rate has reached ATTAINMENT, FLOOR units are tried, but no lower rate. If none has missed it, higher rates are
    tried up to CAP. Between two bounds, the first rate comes from linear interpolation, the second is one width from
    it, and the others bisect.
    """
    tried = dict(shown)

    def run(rate: float) -> Bracket:
        tried[rate] = attainment(rate)
        return bracket_of(tried)

    bounds = bracket_of(tried) if tried else run(unit_per_s)
    if bounds.reached is None and bounds.missed is not None and bounds.missed > FLOOR * unit_per_s:
        bounds = run(FLOOR * unit_per_s)
    while bounds.missed is None and bounds.reached is not None and bounds.reached < CAP * unit_per_s:
        bounds = run(min(STEP_UP * bounds.reached, CAP * unit_per_s))
    width = within * unit_per_s
    for attempt in count():
        if bounds.reached is None or bounds.missed is None or bounds.missed - bounds.reached <= ROUNDING * width:
            break
        low, high = bounds.reached, bounds.missed
        if attempt == 0:
            rate = _on_line((low, tried[low]), (high, tried[high]), width)
        elif attempt == 1:
            rate = low + width if next(reversed(tried)) == low else high - width
        else:
            rate = (low + high) / 2
        bounds = run(rate)
    return bounds


def bracket_of(shares: Mapping[float, float]) -> Bracket:
    """Bounds from attainments by rate. A miss below a rate that reached counts as chance."""
    reached = max((rate for rate, share in shares.items() if share >= ATTAINMENT), default=None)
    above = [rate for rate, share in shares.items() if share < ATTAINMENT and (reached is None or rate > reached)]
    return Bracket(reached, min(above, default=None))


def _on_line(low: tuple[float, float], high: tuple[float, float], width: float) -> float:
    """The rate at which the line through two (rate, attainment) points crosses ATTAINMENT.

    It keeps a width from both rates if possible: closer rates would narrow the bounds on one side only.
    """
    (left, over), (right, under) = low, high
    if right - left < 2 * width:
        return (left + right) / 2
    crossing = left + (right - left) * (over - ATTAINMENT) / (over - under)
    return min(max(crossing, left + width), right - width)


def bracket(attainments: Callable[[Sequence[float]], Sequence[float]], guess_per_s: float) -> tuple[float, float]:
    """Bounds of an unknown capacity: the lower rate reaches ATTAINMENT, the upper one does not.

    Raises SimulationError if there is no such pair far around the guess.
    """
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
        f"capacity: attainment does not cross {ATTAINMENT:.0%} between {guess_per_s:.3g} and {high:.3g} sessions/s; "
        "remove the workload or relax the SLO"
    )
