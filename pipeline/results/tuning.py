"""What tuning gained on the sessions that it searched on, on those that chose among its best, and on those reported."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from .metrics_file import OURS, UNTUNED, Evaluated, ResultsError, ratio

DEFAULTS = "defaults"
METRIC = "effective_throughput"


@dataclass(frozen=True, slots=True)
class Selection:
    """What `tune` chose, and the mean scores (turns in time as ratios to stock vLLM's) that it did so by."""

    chosen: str
    profile: str
    workload: str
    loads: tuple[float, ...]
    longest_wait_s: float  # asked of the loads at which stock vLLM keeps it
    scores: Mapping[str, Mapping[str, float]]  # name → `tune` and `select` → score

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises ResultsError for a file that is missing or of another version."""
        try:
            value: Any = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{**value, "loads": tuple(value["loads"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ResultsError(f"{path}: not what `tune` writes here ({error}); run `dvc repro tune`") from error

    def gain(self, use: str) -> float | None:
        """Over the settings by hand, as a share; None where those were not judged."""
        chosen, by_hand = self.scores.get(self.chosen), self.scores.get(DEFAULTS)
        if chosen is None or by_hand is None or by_hand[use] <= 0:
            return None
        return chosen[use] / by_hand[use] - 1


def report_gain(found: Evaluated, selection: Selection) -> float | None:
    """The same of the sessions reported; None where some load was not evaluated with both settings and stock vLLM."""
    by_load = found.results.get(selection.workload, {}).get(selection.profile, {})
    cells = {float(load): of_load for load, of_load in by_load.items()}
    if not all({OURS, UNTUNED, "vllm"} <= set(cells.get(load, {})) for load in selection.loads):
        return None
    scores = {}
    for policy in (OURS, UNTUNED):
        each = []
        for load in selection.loads:
            unit = max(of["vllm"][METRIC] for at, of in cells.items() if at <= load and "vllm" in of)
            each.append(ratio(cells[load][policy][METRIC], unit))
        if None in each:
            return None
        scores[policy] = sum(value or 0.0 for value in each)
    gain = ratio(scores[OURS], scores[UNTUNED])
    return None if gain is None else gain - 1


def over_tuning(found: Evaluated, selection: Selection) -> str:
    """In a sentence; empty where nothing was found to compare."""
    tuned, selected, reported = selection.gain("tune"), selection.gain("select"), report_gain(found, selection)
    if tuned is None or selected is None:
        return ""
    loads = ", ".join(f"{load:g}×" for load in sorted(selection.loads))
    text = (
        f"Tuning ({selection.chosen}) gained, over the settings by hand and as a mean over {loads}, {_percent(tuned)} "
        f"on the sessions searched on and {_percent(selected)} on those that chose among the best"
    )
    if reported is None:
        return f"{text}; on those reported it was not measured at these loads."
    return (
        f"{text}; on those reported, which did neither, {_percent(reported)}: {_points(tuned - selected)} of "
        f"over-tuning by the search, {_points(selected - reported)} by the choice."
    )


def longest_waits(found: Evaluated, selection: Selection) -> str:
    """Up to which load nobody waits longer than the constraint asks, in a sentence; empty where nothing is known."""
    by_load = found.results.get(selection.workload, {}).get(selection.profile, {})
    told = [
        f"{name} {_kept(by_load, policy, selection.longest_wait_s)}"
        for policy, name in (("vllm", "stock vLLM"), ("uncached-first", "uncached-first"), (OURS, "AugServe"))
        if any(policy in cells for cells in by_load.values())
    ]
    if not told:
        return ""
    return (
        f"A longest wait of {selection.longest_wait_s:g} s, which tuning asks wherever stock vLLM keeps it, is kept by "
        f"{', by '.join(told)}."
    )


def _kept(by_load: Mapping[str, Mapping[str, Mapping[str, float]]], policy: str, limit_s: float) -> str:
    waits = {float(load): cells[policy]["longest_wait_s"] for load, cells in by_load.items() if policy in cells}
    kept: float | None = None
    for load, wait_s in sorted(waits.items()):
        if wait_s > limit_s:
            before = "at no load" if kept is None else f"up to {kept:g}×"
            return f"{before} ({wait_s:.1f} s at {load:g}×)"
        kept = load
    return f"at every load up to {kept:g}×"


def _percent(value: float) -> str:
    return f"{value:+.1%}".replace("-", "−").replace("%", " %")


def _points(value: float) -> str:
    return f"{value * 100:+.1f} points".replace("-", "−")
