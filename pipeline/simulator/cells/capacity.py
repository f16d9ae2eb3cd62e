"""Capacity@90: the highest session rate at which at least 90 % of the turns meet the SLO."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from ..errors import SimulationError

ATTAINMENT = 0.9
BRACKET_TRIES = 8
BRACKET_STEP = 4.0  # from one bound to the other
FLOOR, CAP = 0.5, 4.0
"""Between which a capacity is narrowed, in units."""
STEP_UP = 1.5  # from a rate that reached to the next one, where none has missed yet
ROUNDING = 1 + 1e-9


@dataclass(frozen=True, slots=True)
class Bracket:
    """What was tried of a capacity, sessions/s. None: no rate tried did so."""

    reached: float | None  # the highest rate at which ATTAINMENT was reached
    missed: float | None  # the lowest rate above it at which it was not


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


def narrow(
    attainment: Callable[[float], float], shown: Mapping[float, float], unit_per_s: float, within: float
) -> Bracket:
    """Narrow a capacity to `within` of a unit, from the shares of turns in time that are `shown` at rates already.

    Where none of those reached ATTAINMENT, FLOOR units are tried, and no rate below; where none missed it, ever higher
    ones up to CAP. In between, the first rate tried is where a line through both ends' shares says, the second a width
    beside it, and then halves. All rates are sessions/s.
    """
    known = dict(shown)

    def run(rate: float) -> Bracket:
        known[rate] = attainment(rate)
        return bracket_of(known)

    at = bracket_of(known) if known else run(unit_per_s)
    if at.reached is None and at.missed is not None and at.missed > FLOOR * unit_per_s:
        at = run(FLOOR * unit_per_s)
    while at.missed is None and at.reached is not None and at.reached < CAP * unit_per_s:
        at = run(min(STEP_UP * at.reached, CAP * unit_per_s))
    width = within * unit_per_s
    for tried in count():
        if at.reached is None or at.missed is None or at.missed - at.reached <= ROUNDING * width:
            break
        low, high = at.reached, at.missed
        if tried == 0:
            rate = _on_line((low, known[low]), (high, known[high]), width)
        elif tried == 1:
            rate = low + width if next(reversed(known)) == low else high - width
        else:
            rate = (low + high) / 2
        at = run(rate)
    return at


def bracket_of(shares: Mapping[float, float]) -> Bracket:
    """What shares of turns in time by rate say. Chance may put a miss below a rate that reached: that one counts."""
    reached = max((rate for rate, share in shares.items() if share >= ATTAINMENT), default=None)
    above = [rate for rate, share in shares.items() if share < ATTAINMENT and (reached is None or rate > reached)]
    return Bracket(reached, min(above, default=None))


def _on_line(low: tuple[float, float], high: tuple[float, float], width: float) -> float:
    """Where a line through two rates and their shares crosses ATTAINMENT, a width at least from either where it fits:
    closer by, a miss or a hit would narrow the other side only."""
    (left, over), (right, under) = low, high
    if right - left < 2 * width:
        return (left + right) / 2
    crossing = left + (right - left) * (over - ATTAINMENT) / (over - under)
    return min(max(crossing, left + width), right - width)


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
