"""The rule of promotion: a scheduler version is no worse than another one where no cell of the report split says so."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

POLICY = "augserve"
METRIC = "effective_throughput"
TOLERANCE = 0.02
"""Where a cell has no confidence interval: the share of a value by which two runs of the same policy may differ."""

Evaluated = Mapping[str, Any]
"""`{workload: {profile: {load: {policy: {metric: value}}}}}`, as in reports/evaluate/metrics.json."""
CellName = tuple[str, str, float]


@dataclass(frozen=True, slots=True)
class Estimate:
    """Turns in time a second, with the interval that it may lie in, or None."""

    value: float
    interval: tuple[float, float] | None = None


def no_worse(new: Evaluated, old: Evaluated) -> list[str]:
    """The reasons why `new` is worse than `old`; none: it is no worse on any workload, profile and load of `old`.

    Worse is a value that is lower by more than chance: than the half-widths of both confidence intervals, added as
    independent errors are, or than 2 % of the old value where neither has one. A cell that `new` lacks is a reason.
    """
    after, before = dict(estimates(new)), dict(estimates(old))
    if not before:
        return ["the champion's evaluation holds no cell to compare with"]
    reasons = []
    for name, was in sorted(before.items()):
        workload, profile, load = name
        where = f"{workload} on {profile} at {load:g}x"
        if name not in after:
            reasons.append(f"{where}: not evaluated")
        elif after[name].value < was.value - _margin(after[name], was):
            change = after[name].value / was.value - 1
            reasons.append(
                f"{where}: {after[name].value:.1f} turns in time a second, the champion had {was.value:.1f} "
                f"({change:+.1%}; chance explains ±{_margin(after[name], was) / was.value:.1%})"
            )
    return reasons


def estimates(results: Evaluated) -> Iterator[tuple[CellName, Estimate]]:
    """Each cell's estimate for AugServe. What is not of the form of cells is passed over, as are other policies."""
    for workload, of_profile in _items(results):
        for profile, of_load in _items(of_profile):
            for load, of_policy in _items(of_load):
                metrics = of_policy.get(POLICY) if isinstance(of_policy, Mapping) else None
                name = _number(load)
                found = _estimate(metrics) if isinstance(metrics, Mapping) else None
                if name is not None and found is not None:
                    yield (workload, profile, name), found


def _estimate(metrics: Mapping[str, Any]) -> Estimate | None:
    value = metrics.get(METRIC)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    low, high = metrics.get(f"{METRIC}_low"), metrics.get(f"{METRIC}_high")
    if isinstance(low, int | float) and isinstance(high, int | float) and low <= value <= high:
        return Estimate(float(value), (float(low), float(high)))
    return Estimate(float(value))


def _margin(new: Estimate, old: Estimate) -> float:
    if new.interval is None and old.interval is None:
        return TOLERANCE * old.value
    above = new.interval[1] - new.value if new.interval else 0.0
    below = old.value - old.interval[0] if old.interval else 0.0
    return math.hypot(above, below)


def _items(value: object) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from value.items()


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
