"""Compares drawn sessions with recorded ones by their marginals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from augserve.data.workload.coding_agents.figures import PERCENTS
from augserve.data.workload.model import Session

from .marginals import MARGINALS, kolmogorov_smirnov, pause_between_share

SHOWN = (10, 50, 90)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A marginal of the samples `train`, `held out` and `drawn`."""

    marginal: str
    counts: Mapping[str, int]
    quantiles: Mapping[str, list[float]]  # at PERCENTS
    distances: Mapping[tuple[str, str], float]  # Kolmogorov–Smirnov, of two samples


def compare(samples: Mapping[str, Sequence[Session]]) -> list[Comparison]:
    return [
        _compare(name, {sample: of(sessions) for sample, sessions in samples.items()}) for name, of in MARGINALS.items()
    ]


def _compare(name: str, values: Mapping[str, list[float]]) -> Comparison:
    pairs = (("train", "drawn"), ("held out", "drawn"), ("train", "held out"))
    return Comparison(
        marginal=name,
        counts={sample: len(own) for sample, own in values.items()},
        quantiles={sample: np.percentile(own, PERCENTS).tolist() for sample, own in values.items()},
        distances={pair: kolmogorov_smirnov(values[pair[0]], values[pair[1]]) for pair in pairs},
    )


def shares_between(samples: Mapping[str, Sequence[Session]]) -> dict[str, float]:
    """The share of the variance of log pauses between sessions, of each sample."""
    return {sample: pause_between_share(sessions) for sample, sessions in samples.items()}


def markdown(kind: str, comparisons: Sequence[Comparison], shares: Mapping[str, float]) -> str:
    """A table: p10 / p50 / p90 of each sample, and the distances of the samples."""
    sessions = comparisons[0].counts
    titles = [f"{sample} ({count:,})" for sample, count in sessions.items()]
    lines = [
        f"**{kind}** (sessions in brackets)",
        "",
        f"| | {' | '.join(titles)} | KS train–drawn | KS held out–drawn | KS train–held out |",
        "|---|" + "---:|" * 6,
    ]
    for row in comparisons:
        quantiles = [" / ".join(_shown(own[PERCENTS.index(p)]) for p in SHOWN) for own in row.quantiles.values()]
        distances = [f"{distance:.3f}" for distance in row.distances.values()]
        lines.append("| " + " | ".join([row.marginal, *quantiles, *distances]) + " |")
    between = [f"{share:.3f}" for share in shares.values()]
    lines.append("| " + " | ".join(["share of log pauses' variance between sessions", *between, "", "", ""]) + " |")
    return "\n".join(lines) + "\n"


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
