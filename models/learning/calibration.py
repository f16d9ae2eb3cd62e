"""Conformal calibration: what a model's quantiles are moved by, learned on sessions that the model has not seen.

Conformal quantile regression (Romano, Patterson and Candès, 2019) moves each quantile q by the q-quantile of its errors
on held-out sessions. One offset for all would hide that one set is covered too often and another too rarely, so it is
taken by set. Serving knows no sets: one shallow tree on the features finds again which set a row is like, all sets
weighing alike, and its leaves are the means of what these sets lack. Where all rows are of one set, the tree splits
them where the offsets differ most, no leaf smaller than `MIN_LEAF_ROWS`. A row without what the tree asks for (an
unknown tool, a cold start) goes where such rows went; too few rows for two leaves share one pooled offset. The errors
are cross-fitted: each session is predicted by models that were fitted without it.

The median is left as it is: its errors are centred by the fit already, and moving it by group made rank and error
worse in cross-fitting, above all of what is left of a session. A probability's log odds are moved as one set's are.

Calls as if of tools never seen are sets of their own, one a set, those that are known and those only expected apart. A
tree of their own on top of the first finds them again and moves what they still lack; of one tree for all, known calls
got part of their width. An interval of theirs is stretched, beyond what the errors ask for, until `WIDER` of them are
as wide as that of the same call with its tool known: what was never seen may be unlike all that was left out to
calibrate.

A calibration is a tree or two on top of the model's: it travels inside the ONNX graph, and as rules in its metadata.
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
MIN_SET_SHARE = 0.1  # of a set's rows, which all sets have alike by weight, that a leaf of their tree needs
WIDER = 0.9  # share of the calls of unknown tools whose interval is no narrower than with their tool known
_NO_SPLIT: dict[str, Any] = {"max_depth": 1, "min_split_loss": 1e30}


def calibrate(held_out: TrainingSet, margins: Margins, seed: int) -> tuple[xgb.Booster, ...]:
    """A tree of offsets for each model. `margins`, shape (n, models): what models fitted without these rows' sessions
    said of them."""
    if held_out.target.kind == "probability":
        return (_by_error(held_out, margins[:, 0], 0.5, seed),)
    found = []
    for number, quantile in enumerate(QUANTILES):
        if quantile == 0.5:
            found.append(_nothing(held_out, seed))
        elif len(np.unique(held_out.sources)) > 1 and len(held_out) >= 2 * MIN_LEAF_ROWS:
            lacking = _lacking(labels(held_out) - margins[:, number], held_out.sources, quantile)
            found.append(_by_set(held_out, lacking, SET_DEPTH, seed))
        else:
            found.append(_by_error(held_out, margins[:, number], quantile, seed))
    return tuple(found)


def calibrate_with_unknown_tools(
    known: TrainingSet, unknown: TrainingSet, margins: Margins, seed: int
) -> tuple[xgb.Booster, ...]:
    """The same where `unknown` holds some calls of `known` once more, as if of tools never seen, for which p10 and p90
    have a second tree; `margins`: of the rows of `known`, then of `unknown`."""
    low, middle, high = calibrate(known, margins[: len(known)], seed)
    every = known.joined(unknown)
    if len(every) < 2 * MIN_LEAF_ROWS:
        return low, middle, high
    moved = margins + np.stack([_moved(tree, every) for tree in (low, middle, high)], axis=1)
    strata = np.char.add(unknown.sources, _stratum(unknown))
    errors = labels(unknown)[:, None] - moved[len(known) :]
    lacking = np.stack([_lacking(errors[:, at], strata, quantile) for at, quantile in enumerate(QUANTILES)], axis=1)
    width, known_width = (rows[:, -1] - rows[:, 0] for rows in (moved[len(known) :] + lacking, moved[: len(known)]))
    stretch = np.maximum(_lacking(known_width[_same_calls(known, unknown)] - width, strata, WIDER), 0.0)
    sets = dataclasses.replace(every, sources=np.concatenate((known.sources, strata)))
    nothing = np.zeros(len(known))
    return (
        _by_set(sets, np.concatenate((nothing, lacking[:, 0] - stretch / 2)), UNKNOWN_DEPTH, seed, low),
        middle,
        _by_set(sets, np.concatenate((nothing, lacking[:, -1] + stretch / 2)), UNKNOWN_DEPTH, seed, high),
    )


def _stratum(unknown: TrainingSet) -> NDArray[np.str_]:
    expected = unknown.rows[:, [part.name for part in unknown.target.features].index("expected")] == 1
    return np.where(expected, ", unknown tool expected", ", unknown tool called")


def _same_calls(known: TrainingSet, unknown: TrainingSet) -> NDArray[np.int64]:
    """The rows of `known` of which `unknown` are the copies: all those of its sessions, in the same order."""
    sessions = set(zip(unknown.sources.tolist(), unknown.sessions.tolist(), strict=True))
    pairs = zip(known.sources.tolist(), known.sessions.tolist(), strict=True)
    found = np.flatnonzero([pair in sessions for pair in pairs])
    if len(found) != len(unknown):
        raise TrainingError(
            f"{known.target.name}: {len(unknown)} calls of unknown tools, but {len(found)} calls of the same sessions; "
            "run `dvc repro prepare`"
        )
    return found


def _lacking(errors: NDArray[np.floating[Any]], sets: NDArray[np.str_], quantile: float) -> NDArray[np.float64]:
    """For each row that quantile of its set's errors, shape (n,)."""
    names, index = np.unique(sets, return_inverse=True)
    found = np.array([np.quantile(errors[index == number], quantile) for number in range(len(names))])
    return np.asarray(found[index], np.float64)


def _by_error(held_out: TrainingSet, margins: Margins, quantile: float, seed: int) -> xgb.Booster:
    probability = held_out.target.kind == "probability"
    parameters = objective(held_out.target, (quantile,)) | {
        "base_score": 0.5 if probability else 0.0,  # no intercept: 0.5 is 0 in log odds
        "max_depth": min(MAX_DEPTH, int(np.log2(max(len(held_out) / MIN_LEAF_ROWS, 1)))),
        "min_child_weight": MIN_LEAF_ROWS * (PROBABILITY_HESSIAN if probability else 1.0),
    }
    if parameters["max_depth"] == 0:
        parameters |= _NO_SPLIT  # too few rows for groups: one pooled offset
    matrix = xgb.DMatrix(held_out.rows, labels(held_out), base_margin=margins, nthread=1)
    return _tree(parameters, matrix, seed)


def _by_set(
    held_out: TrainingSet,
    lacking: NDArray[np.float64],
    depth: int,
    seed: int,
    first: xgb.Booster | None = None,
) -> xgb.Booster:
    """Fitted to each set's offset, `lacking`: beside what `first` moves, where it is given, as a tree after its own."""
    names, index, counts = np.unique(held_out.sources, return_inverse=True, return_counts=True)
    parameters = {
        "objective": "reg:squarederror",
        "max_depth": depth,
        "min_child_weight": max(MIN_SET_SHARE * len(held_out) / len(names), 1.0),
    }
    weights = len(held_out) / (len(names) * counts[index])
    if first is not None:
        lacking = lacking + _moved(first, held_out)
    return _tree(parameters, _matrix(held_out, lacking, weights), seed, first)


def _moved(calibration: xgb.Booster, rows: TrainingSet) -> NDArray[np.float32]:
    return np.asarray(calibration.predict(_matrix(rows, np.zeros(len(rows)))), np.float32)


def _nothing(held_out: TrainingSet, seed: int) -> xgb.Booster:
    """A tree that moves nothing."""
    return _tree({"objective": "reg:squarederror"} | _NO_SPLIT, _matrix(held_out, np.zeros(len(held_out))), seed)


def _matrix(
    held_out: TrainingSet, offsets: NDArray[np.float64], weights: NDArray[np.float64] | None = None
) -> xgb.DMatrix:
    return xgb.DMatrix(held_out.rows, offsets, weight=weights, nthread=1)


def _tree(parameters: dict[str, Any], matrix: xgb.DMatrix, seed: int, first: xgb.Booster | None = None) -> xgb.Booster:
    common = {"base_score": 0.0, "tree_method": "hist", "grow_policy": "lossguide", "learning_rate": 1.0}
    fixed = {"reg_lambda": 0.0, "seed": seed, "nthread": 1, "verbosity": 0}
    return xgb.train(common | fixed | parameters, matrix, num_boost_round=1, verbose_eval=False, xgb_model=first)
