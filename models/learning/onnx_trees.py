"""A forest as the attributes of one ONNX tree ensemble.

It is built from XGBoost's JSON, because converters translate a booster with several outputs into a graph that is
silently wrong. Operator: ai.onnx.ml TreeEnsembleRegressor, version 3.

ONNX Runtime walks a tree faster if no node has `missing_value_tracks_true`: its step to a child then has no branch. So
the ensemble reads the features and, after them, their negatives. A node whose missing values go right tests x ≤ the
number just below its threshold. A node whose missing values go left tests -x ≤ -threshold, with its children swapped.
NaN fails both tests, so that both equal XGBoost's x < threshold.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import xgboost as xgb

from .forest import intercepts

_NODE = ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")
_LEAF = -1  # a leaf's child in XGBoost's JSON
_TINY = np.finfo(np.float32).tiny


def ensemble(forest: xgb.Booster, calibrations: Sequence[xgb.Booster], features: int) -> dict[str, Any]:
    """Attributes of the node that adds the raw outputs of `forest` and of one booster of `calibrations` per output.

    Input: the features and their negatives, (n, 2 · `features`). Output: (n, outputs).
    """
    nodes: dict[str, list[Any]] = {f"nodes_{name}": [] for name in _NODE}
    leaves: dict[str, list[Any]] = {f"target_{name}": [] for name in ("treeids", "nodeids", "ids", "weights")}
    outputs = range(len(calibrations))
    trees = [(tree, tuple(outputs)) for tree in _trees(forest)]
    trees += [(tree, (output,)) for output in outputs for tree in _trees(calibrations[output])]
    for number, (tree, of_outputs) in enumerate(trees):
        _add_nodes(nodes, number, tree, features)
        _add_leaves(leaves, number, tree, of_outputs)
    bases = [base + intercepts(tree)[0] for base, tree in zip(intercepts(forest), calibrations, strict=True)]
    return {
        **nodes,
        **leaves,
        "n_targets": len(outputs),
        "base_values": bases,
        "aggregate_function": "SUM",
        "post_transform": "NONE",
    }


def _trees(booster: xgb.Booster) -> list[dict[str, Any]]:
    model = json.loads(booster.save_raw("json"))
    trees: list[dict[str, Any]] = model["learner"]["gradient_booster"]["model"]["trees"]
    return trees


def _add_nodes(nodes: dict[str, list[Any]], number: int, tree: Any, features: int) -> None:
    for node, (left, right) in enumerate(zip(tree["left_children"], tree["right_children"], strict=True)):
        leaf, missing_left = left == _LEAF, bool(tree["default_left"][node])
        threshold, feature = tree["split_conditions"][node], tree["split_indices"][node]
        limit = -threshold if missing_left else just_below(threshold)
        nodes["nodes_treeids"].append(number)
        nodes["nodes_nodeids"].append(node)
        nodes["nodes_featureids"].append(0 if leaf else feature + features * missing_left)
        nodes["nodes_values"].append(0.0 if leaf else limit)
        nodes["nodes_modes"].append("LEAF" if leaf else "BRANCH_LEQ")
        nodes["nodes_truenodeids"].append(0 if leaf else right if missing_left else left)
        nodes["nodes_falsenodeids"].append(0 if leaf else left if missing_left else right)


def _add_leaves(leaves: dict[str, list[Any]], number: int, tree: Any, outputs: Sequence[int]) -> None:
    """Leaves with several outputs keep them in `leaf_weights`; the right child is the index of their group there."""
    several = tree.get("leaf_weights", [])
    for node, (left, place) in enumerate(zip(tree["left_children"], tree["right_children"], strict=True)):
        if left != _LEAF:
            continue
        start = place * len(outputs)
        values = several[start : start + len(outputs)] if several else [tree["split_conditions"][node]]
        for output, value in zip(outputs, values, strict=True):
            leaves["target_treeids"].append(number)
            leaves["target_nodeids"].append(node)
            leaves["target_ids"].append(output)
            leaves["target_weights"].append(value)


def just_below(threshold: float) -> float:
    """The greatest float32 below `threshold`, skipping subnormal numbers: a thread that flushes them to 0 would take
    0 for less than 0."""
    below = float(np.nextafter(np.float32(threshold), np.float32(-np.inf)))
    if -_TINY < below < 0:
        return -float(_TINY)
    return 0.0 if 0 < below < _TINY else below
