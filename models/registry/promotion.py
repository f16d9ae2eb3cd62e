"""The rule of promotion: a new scheduler version must be no worse than the champion in any cell of the report split."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

POLICY = "augserve"
METRIC = "effective_throughput"
TOLERANCE = 0.02
"""Relative difference between two runs of one policy that counts as chance in cells without confidence interval."""

Evaluated = Mapping[str, Any]
"""`{workload: {profile: {load: {policy: {metric: value}}}}}`, as in reports/evaluate/metrics.json."""
CellName = tuple[str, str, str]
CLOSED_LOOPS_SINCE = 3
"""The first form of an evaluation that tells open from closed loops."""
_LOAD = re.compile(r"\d+(\.\d+)?x?")


@dataclass(frozen=True, slots=True)
class Estimate:
    """Goodput in turns per second, with its confidence interval if known."""

    value: float
    interval: tuple[float, float] | None = None


def no_worse(new: Evaluated, old: Evaluated) -> list[str]:
    """The reasons why `new` is worse than `old` in a cell (workload, profile, load); empty if it is no worse.

    Worse means a difference beyond chance: beyond the half-widths of both confidence intervals, added as independent
    errors, or beyond 2 % of the old value if neither has one. A cell missing in `new` is a reason.
    """
    after, before = dict(estimates(new)), dict(estimates(old))
    if not before:
        return ["the champion's evaluation has no cell of the present form"]
    reasons = []
    for name, was in sorted(before.items()):
        workload, profile, load = name
        where = f"{workload} on {profile} at {load if load.endswith('x') else f'{load} agents'}"
        if name not in after:
            reasons.append(f"{where}: not evaluated")
        elif after[name].value < was.value - _margin(after[name], was):
            change = after[name].value / was.value - 1
            reasons.append(
                f"{where}: goodput {after[name].value:.1f} turns/s, champion {was.value:.1f} "
                f"({change:+.1%}; chance ±{_margin(after[name], was) / was.value:.1%})"
            )
    return reasons


def estimates(results: Evaluated) -> Iterator[tuple[CellName, Estimate]]:
    """Each cell's estimate for AugServe. Other policies and other entries of `results` are skipped."""
    older = results.get("format", CLOSED_LOOPS_SINCE) < CLOSED_LOOPS_SINCE
    for workload, of_profile in _items(results):
        for profile, of_load in _items(of_profile):
            for load, of_policy in _items(of_load):
                metrics = of_policy.get(POLICY) if isinstance(of_policy, Mapping) else None
                name = _load_name(load, older)
                estimate = _estimate(metrics) if isinstance(metrics, Mapping) else None
                if name is not None and estimate is not None:
                    yield (workload, profile, name), estimate


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


def _load_name(text: str, older: bool) -> str | None:
    """`2x` of an open loop, `16` agents of a closed one. An older evaluation has open loops only, without the x."""
    if not _LOAD.fullmatch(text):
        return None
    return f"{text}x" if older and not text.endswith("x") else text
