"""metrics.json of an evaluation: its form, written and read."""

import json
from collections.abc import Iterator, Mapping, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...data.atomic import write_json
from .budgets import Tried

FORMAT = 2
"""Raised when a reader of the older form would misread the newer one. 2 has intervals and the ratios to others."""
OURS = "augserve"
BASES = ("vllm", "uncached-first")
"""Policies that every other one is related to, pairwise over the same sessions."""
UNTUNED = "augserve-default"
"""What ours is related to besides: what tuning is worth."""
NOT_WORKLOADS = ("format", "capacity90", "misses90", "summary", "static", "budgets")

Metrics = dict[str, float]
Results = dict[str, dict[str, dict[str, dict[str, Metrics]]]]
"""workload → profile → load → policy → metric. Of `x`, the 95 % interval is `x_low` to `x_high`."""
Capacities = dict[str, dict[str, dict[str, float | None]]]
"""workload → profile → policy → sessions/s; None where no rate tried was so. Stock vLLM's capacity is load 1x."""

Targets = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""workload → profile → target → what was asked, what was reached, and whether it was held."""
NO_TARGETS: Targets = {}


class ResultsError(ValueError):
    """A metrics file cannot be read; the message names it, the cause and the remedy."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A whole metrics file."""

    results: Results
    capacity90: Capacities
    static: Mapping[str, Mapping[str, str]]  # what `vllm-tuned` was, by workload and profile
    budgets: Mapping[str, Mapping[str, Tried]] = field(default_factory=dict)  # static ones tried in ours, the same way
    misses90: Capacities = field(default_factory=dict)  # the lowest rate tried above a capacity, where it was narrowed

    def tables(self) -> Iterator[tuple[str, str, dict[str, dict[str, Metrics]]]]:
        """Each workload and profile with its cells by load and policy."""
        for workload, by_profile in self.results.items():
            for profile, by_load in by_profile.items():
                yield workload, profile, by_load

    def loads(self, workload: str, profile: str) -> list[str]:
        return sorted(self.results[workload][profile], key=float)

    def main_load(self, workload: str, profile: str) -> str:
        return main_load(self.results[workload][profile])

    def tried(self, workload: str, profile: str) -> Tried:
        """Empty where no static budget was searched."""
        return self.budgets.get(workload, {}).get(profile, {})


def write_results(path: Path, found: Evaluated, targets: Targets = NO_TARGETS) -> None:
    """With what was reached of each target in the summary of its workload and profile."""
    summary = summarize(found)
    for workload, of_profile in targets.items():
        for profile, reached in of_profile.items():
            summary.setdefault(workload, {}).setdefault(profile, {})["targets"] = reached
    beside = {"format": FORMAT, "capacity90": found.capacity90, "summary": summary}
    beside |= {"static": found.static, "budgets": found.budgets, "misses90": found.misses90}
    write_json(path, {**found.results, **beside})


def read_results(path: Path) -> Evaluated:
    """Raises ResultsError for a file that is missing, of another format, or without what the format promises."""
    remedy = f"run `{'make compare' if path.parent.name == 'compare' else 'dvc repro evaluate'}`"
    try:
        value: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultsError(f"{path}: {error.strerror}; {remedy}") from error
    except ValueError as error:
        raise ResultsError(f"{path}: not JSON ({error}); {remedy}") from error
    number = value.get("format", 1) if isinstance(value, dict) else None
    if number != FORMAT:
        age = "an older" if isinstance(number, int) and number < FORMAT else "another"
        raise ResultsError(f"{path}: format {number} of {age} version, this one reads format {FORMAT}; {remedy}")
    try:
        results = {name: part for name, part in value.items() if name not in NOT_WORKLOADS}
        _check(results)
        beside = value.get("budgets", {}), value.get("misses90", {})  # which older files lack
        return Evaluated(results, value["capacity90"], value["static"], *beside)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ResultsError(f"{path}: incomplete ({type(error).__name__}: {error}); {remedy}") from error


def _check(results: Results) -> None:
    if not results:
        raise ValueError("no workload")
    for by_profile in results.values():
        for by_load in by_profile.values():
            for load, by_policy in by_load.items():
                float(load)
                for metrics in by_policy.values():
                    float(metrics["effective_throughput"])


def main_load(by_load: Mapping[str, Sized]) -> str:
    """The load at which most policies ran, and of several such the highest: the one of the headline."""
    return max(by_load, key=lambda load: (len(by_load[load]), float(load)))


def summarize(found: Evaluated) -> dict[str, Any]:
    """Headline figures at the main load: turns in time per second, ours against each policy; None: it has none."""
    summary: dict[str, Any] = {}
    for workload, profile, by_load in found.tables():
        load = main_load(by_load)
        cells = by_load[load]
        if OURS not in cells:
            continue
        ours = cells[OURS]["effective_throughput"]
        ratios: dict[str, float | None] = {}
        for policy, cell in cells.items():
            if policy != OURS:
                ratios[f"over_{policy}"] = ratio(ours, cell["effective_throughput"])
        for base in (*BASES, UNTUNED):
            names = (f"over_{base}_low", f"over_{base}_high")
            ratios |= {name: cells[OURS][name] for name in names if name in cells[OURS]}
        here: dict[str, Any] = {"load": float(load), "effective_throughput": ours, **ratios}
        summary.setdefault(workload, {})[profile] = here
    return summary


def ratio(value: float, base: float) -> float | None:
    return value / base if base > 0 else None
