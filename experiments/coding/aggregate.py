"""Aggregates recorded sessions of one kind of agent into rows of figures.csv and effects.csv."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

from augserve.data.workload.coding_agents.effects import EFFECTS, normal_level
from augserve.data.workload.coding_agents.figures import PERCENTS
from augserve.data.workload.model import Session

from .records import Recorded
from .turns import CallingTurn, calling_turns

MIN_TURNS = 10
"""Tools with fewer turns are left out: their quantiles would be single records."""
LEAST_SHARE = 0.02
"""Correlations of a smaller share between sessions would be noise."""
Values = NDArray[np.float64]
FigureRow = tuple[str, str, str, int, list[float]]  # figure, stage, tool, count, quantiles
EffectRow = tuple[str, float, list[float]]  # effect, share between sessions, correlations


def figure_rows(records: Sequence[Recorded], stages: bool) -> Iterator[FigureRow]:
    """The rows of one kind; with `stages`, tools have rows for the first turns and for the others."""
    sessions = [recorded.session for recorded in records]
    turns = calling_turns(sessions)
    yield _row("turns", "", "", [len(session.turns) for session in sessions])
    yield _row("first_prompt", "", "", [session.turns[0].new_tokens for session in sessions])
    if shared := [recorded.shared_tokens for recorded in records if recorded.shared_tokens]:
        yield _row("shared_prompt", "", "", shared)
    yield _row("last_context", "", "", [last_context(session) for session in sessions])
    yield _row("last_output", "", "", [session.turns[-1].output_tokens for session in sessions])
    kept = [turn.kept_share for turn in turns if turn.kept_share is not None]
    if len(kept) >= MIN_TURNS:
        yield _row("kept_share", "", "", kept)
    alone = [turn for turn in turns if not turn.runs_agents]
    early = [turn for turn in alone if stages and turn.early]
    late = [turn for turn in alone if not (stages and turn.early)]
    for stage, own in (("early", early), ("late", late), ("", [turn for turn in turns if turn.runs_agents])):
        yield from _tool_rows(stage, own)


def _tool_rows(stage: str, turns: Sequence[CallingTurn]) -> Iterator[FigureRow]:
    for tool in tools(turns):
        own = [turn for turn in turns if turn.tool == tool]
        yield _row("output", stage, tool, [turn.output for turn in own])
        yield _row("new_tokens", stage, tool, [turn.new_tokens for turn in own if turn.kept_share is None])
        yield _row("pause", stage, tool, [turn.pause for turn in own])
        yield _row("agents" if own[0].runs_agents else "calls", stage, tool, [turn.calls for turn in own])


def tools(turns: Sequence[CallingTurn]) -> list[str]:
    """The tools with enough turns, from short to long pauses; those that run sub-agents with any number of turns."""
    pauses: dict[str, list[float]] = defaultdict(list)
    for turn in turns:
        pauses[turn.tool].append(turn.pause)
    agents = {turn.tool for turn in turns if turn.runs_agents}
    enough = [tool for tool, own in pauses.items() if len(own) >= MIN_TURNS or tool in agents]
    return sorted(enough, key=lambda tool: (tool in agents, float(np.median(pauses[tool]))))


def effect_rows(records: Sequence[Recorded]) -> Iterator[EffectRow]:
    """The shares of variance between sessions and the correlations of sessions' deviates, in normal scores."""
    sessions = [recorded.session for recorded in records]
    turns = calling_turns(sessions)
    order = tools(turns)
    turns = [turn for turn in turns if turn.tool in order]
    names = np.array([order.index(turn.tool) for turn in turns])
    owners = np.array([turn.session for turn in turns])
    once = [
        normal_scores([len(session.turns) for session in sessions]),
        normal_scores([session.turns[0].new_tokens for session in sessions]),
        normal_scores([last_context(session) for session in sessions]),
    ]
    scores = [
        standard(normal_scores(names)),
        standard(_within(names, [turn.output for turn in turns])),
        standard(_within(names, [turn.pause for turn in turns])),
    ]
    products = np.array([[between(one, other, owners) for other in scores] for one in scores])
    shares = np.concatenate([np.ones(len(once)), np.clip(np.diag(products), 0.0, 1.0)])
    means = [np.bincount(owners, own) / np.bincount(owners) for own in scores]
    covariances = np.cov(np.array([*map(standard, once), *means]), bias=True)
    covariances[len(once) :, len(once) :] = products
    spreads = np.sqrt(np.maximum(shares, LEAST_SHARE))
    correlations = nearest_correlations(covariances / np.outer(spreads, spreads))
    shares[EFFECTS.index("tool")] = latent_share(shares[EFFECTS.index("tool")], names)
    yield from zip(EFFECTS, shares.tolist(), correlations.tolist(), strict=True)


def nearest_correlations(matrix: Values) -> Values:
    """A matrix of correlations near to an estimate, which noise may have made impossible."""
    estimate = np.clip(matrix, -0.95, 0.95)
    np.fill_diagonal(estimate, 1.0)
    variances, axes = np.linalg.eigh(estimate)
    possible = (axes * np.maximum(variances, 0.01)) @ axes.T
    spreads = np.sqrt(np.diag(possible))
    return np.asarray(possible / np.outer(spreads, spreads), np.float64)


def latent_share(share: float, names: NDArray[np.int64]) -> float:
    """The share between sessions of the deviates that draw a name, from the share between sessions of its scores.

    A name tells little of its deviate: the scores of two turns correlate less. Bisection on simulated pairs.
    """
    one, own = np.random.default_rng(0).standard_normal((2, 20_000))
    sorted_names = np.sort(names)
    scores = standard(normal_scores(sorted_names))

    def of(deviates: Values) -> Values:
        return standard(scores[(normal_level(deviates) * len(scores)).astype(int)])

    low, high = 0.0, 0.99
    for _ in range(12):
        middle = (low + high) / 2
        reached = float((of(one) * of(middle * one + np.sqrt(1 - middle**2) * own)).mean())
        low, high = (middle, high) if reached < share else (low, middle)
    return low


def last_context(session: Session) -> int:
    return session.prompt_lengths()[-1] + session.turns[-1].output_tokens


def between(one: Values, other: Values, owners: NDArray[np.int64]) -> float:
    """The mean product of the values of two different turns of one session. A session weighs as much as its turns.

    Of one figure in standard scores it is the share of the variance that lies between sessions.
    """
    counts = np.bincount(owners)
    several = counts > 1
    sums = np.bincount(owners, one) * np.bincount(owners, other) - np.bincount(owners, one * other)
    return float((sums[several] / (counts[several] - 1)).sum() / counts[several].sum())


def standard(values: Values) -> Values:
    return np.asarray((values - values.mean()) / (values.std() or 1.0), np.float64)


def normal_scores(values: ArrayLike) -> Values:
    """The normal deviate of each value's rank; equal values have equal ones."""
    ranks = rankdata(np.asarray(values))
    return np.asarray(ndtri((ranks - 0.5) / len(ranks)), np.float64)


def _within(names: NDArray[np.int64], values: Sequence[float]) -> Values:
    """Normal scores among the turns of the same tool."""
    scores, numbers = np.empty(len(names)), np.array(values)
    for name in np.unique(names):
        scores[names == name] = normal_scores(numbers[names == name])
    return scores


def _row(figure: str, stage: str, tool: str, values: Sequence[float]) -> FigureRow:
    return figure, stage, tool, len(values), np.percentile(values, PERCENTS).tolist()
