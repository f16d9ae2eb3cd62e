"""Conformal calibration: the offset of each model's quantile, learned on sessions that the model has not seen.

Conformal quantile regression (Romano, Patterson and Candès, 2019) moves quantile q by the q-quantile of its errors on
held-out sessions; here the errors are cross-fitted. One offset for all sets would cover one set too often and another
too rarely, so each set has its own. Serving does not know the set of a request: one shallow tree on the features, with
equal weight for each set, learns which set a row resembles. Its leaves are means of the sets' offsets. With one set
only, the tree splits the rows where the offsets differ most, into leaves of at least `MIN_LEAF_ROWS` rows. Too few rows
for two leaves share one offset. Missing features (an unknown tool, a cold start) take the branch of such rows.

The median keeps offset 0: the fit centres its errors, and offsets by group made rank and error worse in
cross-fitting. A probability's log odds are calibrated as for one set.

Calls with unknown tools form sets of their own, one per source and for called and expected calls apart. A second tree
on top of the first corrects what remains for them; with a single tree, known calls took part of their width. The
intervals of unknown tools are then stretched until a share `WIDER` of them is at least as wide as the interval of the
same call with a known tool: an unseen tool may differ from all tools that were left out to calibrate.

A calibration of one or two trees on top of the model's is part of the ONNX graph, and of its metadata as rules.
"""

import dataclasses
from typing import Any

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from ..serving.target import QUANTILES
from .forest import PROBABILITY_HESSIAN, Margins, labels, objective
from .training_set import TrainingError, TrainingSet

MIN_LEAF_ROWS = 150
MAX_DEPTH = 3
SET_DEPTH = 5
UNKNOWN_DEPTH = 7  # of the tree for calls of unknown tools
MIN_SET_SHARE = 0.1  # least weight of a leaf in the tree of sets, as a share of one set's weight
WIDER = 0.9
_NO_SPLIT: dict[str, Any] = {"max_depth": 1, "min_split_loss": 1e30}


def calibrate(held_out: TrainingSet, margins: Margins, seed: int) -> tuple[xgb.Booster, ...]:
    """A tree of offsets for each model. `margins`, (n, models): cross-fitted raw outputs for the rows of `held_out`."""
    if held_out.target.kind == "probability":
        return (_by_error(held_out, margins[:, 0], 0.5, seed),)
    trees = []
    for number, quantile in enumerate(QUANTILES):
        if quantile == 0.5:
            trees.append(_zero(held_out, seed))
        elif len(np.unique(held_out.sources)) > 1 and len(held_out) >= 2 * MIN_LEAF_ROWS:
            offsets = _offsets(labels(held_out) - margins[:, number], held_out.sources, quantile)
            trees.append(_by_set(held_out, offsets, SET_DEPTH, seed))
        else:
            trees.append(_by_error(held_out, margins[:, number], quantile, seed))
    return tuple(trees)


def calibrate_with_unknown_tools(
    known: TrainingSet, unknown: TrainingSet, margins: Margins, seed: int
) -> tuple[xgb.Booster, ...]:
    """Like `calibrate`, with a second tree for p10 and p90 that corrects calls of unknown tools.

    `unknown`: some calls of `known` again, with tools never seen. `margins`: of the rows of `known`, then of `unknown`.
    """
    low, middle, high = calibrate(known, margins[: len(known)], seed)
    every = known.joined(unknown)
    if len(every) < 2 * MIN_LEAF_ROWS:
        return low, middle, high
    moved = margins + np.stack([_predict(tree, every) for tree in (low, middle, high)], axis=1)
    sets = np.char.add(unknown.sources, _suffix(unknown))
    errors = labels(unknown)[:, None] - moved[len(known) :]
    offsets = np.stack([_offsets(errors[:, i], sets, quantile) for i, quantile in enumerate(QUANTILES)], axis=1)
    width, known_width = (rows[:, -1] - rows[:, 0] for rows in (moved[len(known) :] + offsets, moved[: len(known)]))
    stretch = np.maximum(_offsets(known_width[_same_calls(known, unknown)] - width, sets, WIDER), 0.0)
    every = dataclasses.replace(every, sources=np.concatenate((known.sources, sets)))
    none = np.zeros(len(known))
    return (
        _by_set(every, np.concatenate((none, offsets[:, 0] - stretch / 2)), UNKNOWN_DEPTH, seed, low),
        middle,
        _by_set(every, np.concatenate((none, offsets[:, -1] + stretch / 2)), UNKNOWN_DEPTH, seed, high),
    )


def _suffix(unknown: TrainingSet) -> NDArray[np.str_]:
    """The end of each row's set name: called and expected calls are sets apart."""
    expected = unknown.rows[:, [part.name for part in unknown.target.features].index("expected")] == 1
    return np.where(expected, ", unknown tool expected", ", unknown tool called")


def _same_calls(known: TrainingSet, unknown: TrainingSet) -> NDArray[np.int64]:
    """Indices of the rows of `known` that `unknown` repeats: all rows of its sessions, in the same order."""
    sessions = set(zip(unknown.sources.tolist(), unknown.sessions.tolist(), strict=True))
    pairs = zip(known.sources.tolist(), known.sessions.tolist(), strict=True)
    rows = np.flatnonzero([pair in sessions for pair in pairs])
    if len(rows) != len(unknown):
        raise TrainingError(
            f"{known.target.name}: {len(unknown)} calls of unknown tools, but {len(rows)} calls of the same sessions; "
            "run `dvc repro prepare`"
        )
    return rows


def _offsets(errors: NDArray[np.floating[Any]], sets: NDArray[np.str_], quantile: float) -> NDArray[np.float64]:
    """For each row that quantile of its set's errors, shape (n,)."""
    names, index = np.unique(sets, return_inverse=True)
    quantiles = np.array([np.quantile(errors[index == number], quantile) for number in range(len(names))])
    return np.asarray(quantiles[index], np.float64)


def _by_error(held_out: TrainingSet, margins: Margins, quantile: float, seed: int) -> xgb.Booster:
    probability = held_out.target.kind == "probability"
    parameters = objective(held_out.target, (quantile,)) | {
        "base_score": 0.5 if probability else 0.0,  # no intercept: 0.5 is 0 in log odds
        "max_depth": min(MAX_DEPTH, int(np.log2(max(len(held_out) / MIN_LEAF_ROWS, 1)))),
        "min_child_weight": MIN_LEAF_ROWS * (PROBABILITY_HESSIAN if probability else 1.0),
    }
    if parameters["max_depth"] == 0:
        parameters |= _NO_SPLIT  # too few rows for two leaves: one offset for all
    matrix = xgb.DMatrix(held_out.rows, labels(held_out), base_margin=margins, nthread=1)
    return _tree(parameters, matrix, seed)


def _by_set(
    held_out: TrainingSet,
    offsets: NDArray[np.float64],
    depth: int,
    seed: int,
    first: xgb.Booster | None = None,
) -> xgb.Booster:
    """A tree fitted to the offsets of the rows' sets, after the tree of `first` if given."""
    names, index, counts = np.unique(held_out.sources, return_inverse=True, return_counts=True)
    parameters = {
        "objective": "reg:squarederror",
        "max_depth": depth,
        "min_child_weight": max(MIN_SET_SHARE * len(held_out) / len(names), 1.0),
    }
    weights = len(held_out) / (len(names) * counts[index])
    if first is not None:
        offsets = offsets + _predict(first, held_out)
    return _tree(parameters, xgb.DMatrix(held_out.rows, offsets, weight=weights, nthread=1), seed, first)


def _predict(calibration: xgb.Booster, rows: TrainingSet) -> NDArray[np.float32]:
    return np.asarray(calibration.predict(xgb.DMatrix(rows.rows, nthread=1)), np.float32)


def _zero(held_out: TrainingSet, seed: int) -> xgb.Booster:
    """A tree with offset 0 for every row."""
    matrix = xgb.DMatrix(held_out.rows, np.zeros(len(held_out)), nthread=1)
    return _tree({"objective": "reg:squarederror"} | _NO_SPLIT, matrix, seed)


def _tree(parameters: dict[str, Any], matrix: xgb.DMatrix, seed: int, first: xgb.Booster | None = None) -> xgb.Booster:
    common = {"base_score": 0.0, "tree_method": "hist", "grow_policy": "lossguide", "learning_rate": 1.0}
    fixed = {"reg_lambda": 0.0, "seed": seed, "nthread": 1, "verbosity": 0}
    return xgb.train(common | fixed | parameters, matrix, num_boost_round=1, verbose_eval=False, xgb_model=first)
