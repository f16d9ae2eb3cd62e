"""The metrics of runs as functions of their samples, for the sessions as they are and for resamples of them at once.

A resample weights each session tree by how often it was drawn; what belongs to a tree has its weight. Rates of a closed
loop are per session under way: its length in a resample is the time that the drawn sessions were under way in the
window, scaled so that the sessions as they are have the length of the window. That of an open loop is the window.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .names import BY_KIND, THIRDS
from .samples import Samples

Floats = NDArray[np.floating[Any]]
Weights = Sequence[Floats]
"""One array (R, sessions) a run; R is the number of resamples."""
PROMPT_GROUPS = {"below_2k": 0, "2k_to_16k": 2_000, "16k_to_64k": 16_000, "from_64k": 64_000}
"""Prompt lengths of which the TTFT is told apart → the shortest prompt, tokens."""
INTERACTIVE_SHARE = 0.9
"""Of the turns reach `interactivity_p90`, output tokens/s."""


def estimates(runs: Sequence[Samples], weights: Weights) -> dict[str, Floats]:
    """Metric → (R,) values, pooled over the runs. NaN: no turn or session of the resample has a value.

    A metric that no run can have is absent, such as the recomputation where the engine was not observed.
    """
    found = dict(_rates(runs, weights))
    found |= _cache(runs, weights)
    for metric, values, own in _distributions(runs, weights):
        if metric.endswith("_mean_s"):
            found[metric] = _mean(values, own)
        else:
            found |= _percentiles(metric, values, own)
    return found


def unit_weights(runs: Sequence[Samples]) -> Weights:
    """The sessions as they are."""
    return [np.ones((1, len(run.sessions))) for run in runs]


def _rates(runs: Sequence[Samples], weights: Weights) -> Iterator[tuple[str, Floats]]:
    length_s = sum((_length_s(run, own) for run, own in zip(runs, weights, strict=True)), np.zeros(1))

    def total(of: Callable[[Samples], Floats]) -> Floats:
        return sum((own @ of(run) for run, own in zip(runs, weights, strict=True)), np.zeros(1))

    turns, met = total(_turns), total(_met)
    steps = total(lambda run: np.array(run.steps, float)) / length_s
    yield "effective_throughput", met / length_s
    yield "session_effective_throughput", total(lambda run: _count(run, run.ended, run.ended_in_time)) / length_s
    yield "throughput", steps
    yield "steps_per_minute", steps * 60
    yield "sessions_per_hour", total(lambda run: _count(run, run.ended)) / length_s * 3600
    yield "attainment", _divided(met, turns)
    kinds = sorted({kind for run in runs for kind in run.kinds})
    for kind in kinds if len(kinds) > 1 else ():
        own_met, own_turns = total(_of_kind(kind, _met)), total(_of_kind(kind, _turns))
        yield f"{BY_KIND}{kind}", _divided(own_met, own_turns)


def _cache(runs: Sequence[Samples], weights: Weights) -> dict[str, Floats]:
    pairs = list(zip(runs, weights, strict=True))
    prompt = sum((own @ np.array(run.prompt_tokens, float) for run, own in pairs), np.zeros(1))
    cached = sum((own @ np.array(run.cached_tokens, float) for run, own in pairs), np.zeros(1))
    found = {"prefix_hit_rate": _divided(cached, prompt)}
    if all(run.best_cached_tokens is not None for run in runs):
        best = sum((own @ np.array(run.best_cached_tokens, float) for run, own in pairs), np.zeros(1))
        found["best_hit_rate"] = _divided(best, prompt)
    if busy_s := sum(run.busy_s for run in runs):
        recomputed_s = sum((own @ np.array(run.recomputed_s, float) for run, own in pairs), np.zeros(1))
        found["recompute_share"] = recomputed_s / busy_s
    return found


def _distributions(runs: Sequence[Samples], weights: Weights) -> Iterator[tuple[str, Floats, Floats]]:
    """Metric, values (n,) and weights (R, n) of the metrics that are means or percentiles over turns or sessions."""

    def pooled(places: str, *names: str) -> tuple[Floats, list[Floats]]:
        own = np.hstack([of.take(getattr(run, places), axis=1) for run, of in zip(runs, weights, strict=True)])
        return own, [np.concatenate([np.array(getattr(run, name), float) for run in runs]) for name in names]

    own, (ttft_s, prompts, tpot_s) = pooled("turn_sessions", "ttft_s", "turn_prompt_tokens", "tpot_s")
    yield "ttft_mean_s", ttft_s, own
    yield "ttft", ttft_s, own
    ends = [*list(PROMPT_GROUPS.values())[1:], np.inf]
    for (name, least), end in zip(PROMPT_GROUPS.items(), ends, strict=True):
        chosen = (least <= prompts) & (prompts < end)
        yield f"ttft_{name}", ttft_s[chosen], own[:, chosen]
    paced = ~np.isnan(tpot_s)
    yield "interactivity", tpot_s[paced], own[:, paced]
    own, (session_s, serving_s, thirds) = pooled("ended", "session_time_s", "serving_time_s", "thirds")
    for name, times_s in (("session_time", session_s), ("serving_time", serving_s)):
        known = ~np.isnan(times_s)
        yield f"{name}_mean_s", times_s[known], own[:, known]
        yield name, times_s[known], own[:, known]
        for number, third in enumerate(THIRDS):
            chosen = known & (thirds == number)
            yield f"{name}_{third}_mean_s", times_s[chosen], own[:, chosen]


def _percentiles(name: str, values: Floats, weights: Floats) -> dict[str, Floats]:
    if name == "interactivity":
        (slow,) = weighted_quantiles(values, weights, (INTERACTIVE_SHARE,))
        return {f"{name}_p90": 1 / np.maximum(slow, np.finfo(float).tiny)}
    shares = (0.5, 0.9, 0.99) if name.startswith("ttft") else (0.9,)
    quantiles = weighted_quantiles(values, weights, shares)
    return {f"{name}_p{share * 100:.0f}_s": of for share, of in zip(shares, quantiles, strict=True)}


def weighted_quantiles(values: Floats, weights: Floats, shares: Sequence[float]) -> list[Floats]:
    """As np.quantile of the values (n,), each repeated as often as its weight in `weights` (R, n); (R,) a share."""
    if not len(values):
        return [np.full(len(weights), np.nan) for _ in shares]
    order = np.argsort(values, kind="stable")
    ranked, ends = values[order], np.take(weights, order, axis=1).cumsum(axis=1)
    places = np.maximum(np.outer(ends[:, -1] - 1, shares), 0)  # (R, shares): as ranks, from 0
    bounds = np.hstack([np.floor(places), np.ceil(places)])
    found = np.array([np.searchsorted(own, of, side="right") for own, of in zip(ends, bounds, strict=True)])
    low, high = np.split(ranked[np.minimum(found, len(ranked) - 1)], 2, axis=1)
    quantiles = np.where(ends[:, -1:] > 0, low + (places % 1) * (high - low), np.nan)
    return list(quantiles.T)


def _length_s(run: Samples, weights: Floats) -> Floats:
    present_s = np.array(run.present_s, float)
    if not run.closed or not present_s.sum():
        return np.full(len(weights), run.window_s)
    length_s: Floats = run.window_s * (weights @ present_s) / present_s.sum()
    return length_s


def _met(run: Samples) -> Floats:
    return _count(run, run.turn_sessions, run.in_time)


def _turns(run: Samples) -> Floats:
    return _count(run, run.turn_sessions)


def _of_kind(kind: str, of: Callable[[Samples], Floats]) -> Callable[[Samples], Floats]:
    return lambda run: of(run) * np.array([own == kind for own in run.kinds], float)


def _count(run: Samples, places: Sequence[int], values: Sequence[int] | None = None) -> Floats:
    """Values (by default 1) of turns or ended sessions, summed by session."""
    counts: Floats = np.bincount(np.array(places, np.intp), values, minlength=len(run.sessions)).astype(float)
    return counts


def _mean(values: Floats, weights: Floats) -> Floats:
    return _divided(weights @ values, weights.sum(axis=1))


def _divided(value: Floats, by: Floats) -> Floats:
    shares: Floats = np.divide(value, by, out=np.full(np.broadcast(value, by).shape, np.nan), where=by != 0)
    return shares
