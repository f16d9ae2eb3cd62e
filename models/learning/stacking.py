"""Stacks the forests on the quantiles of each tool: how much of either a prediction takes, set by set.

The share of the forest minimises the pinball loss, in the target's unit, of predictions that have not seen the row's
session: cross-fitted margins of the forests, and tables of the other folds' rows. One share a set, quantity and
quantile: the mean of the best shares of resampled sessions (bagging; Breiman, 1996), because the best share of a few
sessions is mostly luck.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..serving.predictor import Rows
from ..serving.target import QUANTILES, TOOL_DURATION
from ..serving.tool_tables import EXPECTED_DURATION, ToolTable, ToolTables
from .cross_fit import Learned, session_folds
from .forest import labels
from .training_set import TrainingSet

MIN_TOOL_ROWS = 5
"""A tool with fewer rows in a set has no quantiles there."""
SHARES = np.linspace(0, 1, 21)
RESAMPLES = 200
_EXPECTED = [part.name for part in TOOL_DURATION.features].index("expected")
Quantiles = dict[str, NDArray[np.float64]]  # group → logs


def fit_tables(learned: Sequence[Learned], seed: int) -> ToolTables:
    """The tables of all sets and quantities; a quantity without quantiles has none."""
    key = np.random.default_rng(seed).bytes(16)
    hashed = ToolTables(key).hashed
    sets: dict[str, dict[str, ToolTable]] = {}
    for part in learned:
        if part.training.target.kind != "quantiles":
            continue
        for source, table, rows in _tables_of(part.training):
            found = _fit_table(part.training.select(rows), part.held_out[rows], seed)
            if found is not None:
                shares, quantiles = found
                by_hash = {hashed(tool): tuple(logs.round(4).tolist()) for tool, logs in sorted(quantiles.items())}
                sets.setdefault(source, {})[table] = ToolTable(shares, by_hash)
    return ToolTables(key, sets)


def stacked(tables: ToolTables, data: TrainingSet, predicted: Rows) -> Rows:
    """The forest's predictions of the rows of `data` with the tables of the rows' own sets, as in serving."""
    result = predicted.copy()
    if data.target.kind == "quantiles":
        for source, table, rows in _tables_of(data):
            tools = np.array([tables.row(group) for group in data.groups[rows].tolist()])
            result[rows] = tables.blended(table, tables.number(source), predicted[rows], tools)
    return result


def _tables_of(data: TrainingSet) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """Set, name of the table and mask of its rows, for each table that has rows in `data`."""
    for source in np.unique(data.sources).tolist():
        of_source = data.sources == source
        if data.target is not TOOL_DURATION:
            yield source, data.target.name, of_source
            continue
        expected = data.rows[:, _EXPECTED] == 1
        for table, rows in ((TOOL_DURATION.name, of_source & ~expected), (EXPECTED_DURATION, of_source & expected)):
            if rows.any():
                yield source, table, rows


def _fit_table(data: TrainingSet, margins: Rows, seed: int) -> tuple[tuple[float, ...], Quantiles] | None:
    """Shares of the forest by quantile, and the quantiles of each tool; None where no tool has rows in two folds."""
    logs, folds = labels(data).astype(np.float64), session_folds(data)
    table = np.full((len(data), len(QUANTILES)), np.nan)
    for fold in np.unique(folds).tolist():
        others = _quantiles(data.groups[folds != fold], logs[folds != fold])
        for row in np.flatnonzero(folds == fold).tolist():
            table[row] = others.get(data.groups[row], table[row])
    known = np.isfinite(table[:, 0])
    if not known.any():
        return None
    actual, sessions, forest = np.exp(logs[known]), data.sessions[known], _calibrated(margins, logs)[known]
    shares = [
        _share(actual, forest[:, number], table[known, number], quantile, sessions, seed)
        for number, quantile in enumerate(QUANTILES)
    ]
    return tuple(shares), _quantiles(data.groups, logs)


def _calibrated(margins: Rows, logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each quantile with one offset. The calibration's own trees have learned these rows by heart."""
    errors = logs[:, None] - margins
    offsets = [0.0 if quantile == 0.5 else np.quantile(errors[:, i], quantile) for i, quantile in enumerate(QUANTILES)]
    return np.asarray(margins + np.array(offsets), np.float64)


def _quantiles(groups: NDArray[np.str_], logs: NDArray[np.float64]) -> Quantiles:
    by_group = {group: logs[groups == group] for group in np.unique(groups).tolist()}
    return {group: np.quantile(own, QUANTILES) for group, own in by_group.items() if len(own) >= MIN_TOOL_ROWS}


def _share(
    actual: NDArray[np.float64],
    forest: NDArray[np.float64],
    table: NDArray[np.float64],
    quantile: float,
    sessions: NDArray[np.str_],
    seed: int,
) -> float:
    """The forest's share of one quantile. `forest`, `table`: logs, shape (n,) like `actual`."""
    error = actual[:, None] - np.exp(SHARES * forest[:, None] + (1 - SHARES) * table[:, None])
    losses = np.maximum(quantile * error, (quantile - 1) * error)
    _, index = np.unique(sessions, return_inverse=True)
    by_session = np.stack([np.bincount(index, weights=column) for column in losses.T], axis=1)
    count = len(by_session)
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return round(float(np.mean(SHARES[np.argmin(draws @ by_session, axis=1)])), 3)
