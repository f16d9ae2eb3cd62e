"""Which of the published directions hold, in a table and in words."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...data.atomic import write_json, write_text
from ..results.grid import Grid
from .params import DirectionsParams
from .trial import UNCACHED

STOCK = (UNCACHED, "vllm")
EQUAL = 0.02
"""Means that differ by less, relative to the other, are no better one than the other."""

Runs = Sequence[Mapping[str, float]]
"""Metrics of a policy, a run each, in the same order of seeds for all policies."""
Found = dict[tuple[int, float], dict[str, list[dict[str, float]]]]
"""(KV tokens, load) → policy → its runs."""

WHY_FIRM = (
    "- MARS is not above InferCept where kept contexts never give way: it ranks who returns from a call anew, behind "
    "others, while the kept context holds memory that nobody may use. Tried with contexts given up as their next turn "
    "arrives, it is above ([docs/scheduling.md](../../docs/scheduling.md) has the figures)."
)


@dataclass(frozen=True, slots=True)
class Direction:
    """What a paper says: `policy` is better than `other`."""

    claim: str
    policy: str
    other: str
    metric: str
    least_is_best: bool = True

    def change(self, runs: Mapping[str, Runs]) -> float:
        """Mean of the policy's metric relative to the other's, less 1; positive is better."""
        ours, others = ([run[self.metric] for run in runs[name]] for name in (self.policy, self.other))
        ratio = float(np.mean(others) / np.mean(ours)) if self.least_is_best else float(np.mean(ours) / np.mean(others))
        return ratio - 1

    def verdict(self, runs: Mapping[str, Runs]) -> str:
        """`holds` or `reversed` where every seed says so and the means differ by EQUAL, otherwise `equal`."""
        signs = {
            np.sign(other[self.metric] - own[self.metric]) * (1 if self.least_is_best else -1)
            for own, other in zip(runs[self.policy], runs[self.other], strict=True)
        }
        if abs(self.change(runs)) < EQUAL or len(signs) > 1:
            return "equal"
        return "holds" if signs == {1} else "reversed"


def _directions() -> Iterator[Direction]:
    for policy in ("infercept", "infercept-firm", "infercept-oracle"):
        for other in STOCK:
            yield Direction("InferCept above stock vLLM", policy, other, "normalized_latency_mean_s")
            yield Direction("InferCept above stock vLLM", policy, other, "sessions_per_s", least_is_best=False)
    for ending in ("", "-firm", "-oracle"):
        yield Direction("MARS above InferCept", f"mars{ending}", f"infercept{ending}", "latency_mean_s")


DIRECTIONS = tuple(_directions())


def policies() -> tuple[str, ...]:
    """All that the directions speak of, stock vLLM first."""
    named = {name for direction in DIRECTIONS for name in (direction.policy, direction.other)}
    return tuple(sorted(named, key=lambda name: (name not in STOCK, name)))


def verdicts(found: Found) -> Grid:
    """A row a direction, a column a KV cache and load."""
    cells = sorted(found)
    rows = []
    for direction in DIRECTIONS:
        said = [f"{direction.verdict(found[cell])} ({direction.change(found[cell]):+.0%})" for cell in cells]
        rows.append((direction.claim, f"{direction.policy} / {direction.other}", direction.metric, *said))
    header = ("claim", "compared", "by", *(f"{kv_tokens // 1000}k tokens, {load:g}x" for kv_tokens, load in cells))
    return Grid(header, rows, 3)


COLUMNS = {
    "normalized latency, mean, s/token": ("normalized_latency_mean_s", "{:.3f}"),
    "median": ("normalized_latency_p50_s", "{:.3f}"),
    "mean latency, s": ("latency_mean_s", "{:.1f}"),
    "sessions/s": ("sessions_per_s", "{:.2f}"),
    "prefix hits": ("prefix_hit_rate", "{:.1%}"),
    "preemptions": ("preemptions", "{:.0f}"),
}


def cells(found: Found) -> Grid:
    """Means over the seeds, a row a KV cache, load and policy."""
    rows = []
    for (kv_tokens, load), by_policy in sorted(found.items()):
        for policy in policies():
            means = mean(by_policy[policy])
            figures = [form.format(means[metric]) for metric, form in COLUMNS.values()]
            rows.append((f"{kv_tokens}", f"{load:g}x", policy, *figures))
    return Grid(("KV tokens", "load", "policy", *COLUMNS), rows, 3)


def mean(runs: Runs) -> dict[str, float]:
    return {metric: float(np.mean([run[metric] for run in runs])) for metric in runs[0]}


def words(found: Found) -> Iterator[str]:
    """What the verdicts say together, and what of prefix caching explains them, each figure from the runs."""
    groups: dict[tuple[str, str], list[Direction]] = {}
    for one in DIRECTIONS:
        groups.setdefault((one.claim, one.other if one.other in STOCK else "InferCept"), []).append(one)
    for (claim, other), group in groups.items():
        said = [one.verdict(by_policy) for one in group for by_policy in found.values()]
        counts = ", ".join(f"{said.count(verdict)} {verdict}" for verdict in ("holds", "equal", "reversed"))
        yield f"- {claim} ({other}): of {len(said)} comparisons {counts}."
    hits = {name: [mean(cell[name])["prefix_hit_rate"] for cell in found.values()] for name in ("vllm", "infercept")}
    stock, infercept = (f"{min(values):.0%} to {max(values):.0%}" for values in hits.values())
    yield (
        f"- Of the prompts' tokens stock vLLM finds {stock} in its prefix cache, InferCept {infercept}, stock vLLM "
        "without prefix caching none: today's vLLM by itself keeps a context over a call as long as nothing else needs "
        "the memory, which is much of what InferCept brought."
    )
    firm = [one for one in DIRECTIONS if one.policy == "mars-firm"]
    if any(one.verdict(by_policy) != "holds" for one in firm for by_policy in found.values()):
        yield WHY_FIRM


def report(found: Found, params: DirectionsParams) -> str:
    conditions = (
        f"{params.sessions} sessions of augmentation-mix served to their end, {params.seeds} seeds; load 1x is the "
        "rate at which their contexts, those in a tool call included, just fill the KV cache. A session's latency is "
        "without its calls' own time. In brackets how much better: other / compared of a latency, compared / other of "
        f"a rate, less 1. `equal`: by less than {EQUAL:.0%}, or not in every seed."
    )
    head = [f"# Published directions, on {params.profile} with less KV cache", "", conditions, "", *words(found), ""]
    return "\n".join([*head, *verdicts(found).markdown(), "", *cells(found).markdown(), ""])


def write_report(folder: Path, found: Found, params: DirectionsParams) -> str:
    """directions.md and directions.json; gives the former's text."""
    text = report(found, params)
    values: dict[str, Any] = {}
    for (kv_tokens, load), by_policy in found.items():
        values.setdefault(str(kv_tokens), {})[f"{load:g}"] = {name: mean(runs) for name, runs in by_policy.items()}
    write_json(folder / "directions.json", values)
    write_text(folder / "directions.md", text)
    return text
