"""Boosters as the attributes of an ONNX tree ensemble with one output.

Written from XGBoost's own JSON, booster by booster: converters translate a booster that has several outputs into a
graph that is silently wrong. Operator: ai.onnx.ml TreeEnsembleRegressor, version 3. One output each, because ONNX
Runtime walks an ensemble of one output a fifth to a quarter faster than the same trees with several outputs.
"""

import json
from collections.abc import Sequence
from typing import Any

import xgboost as xgb

from .fitting import intercept

_NODE = (
    *("treeids", "nodeids", "featureids", "values", "modes"),
    *("truenodeids", "falsenodeids", "missing_value_tracks_true"),
)
_LEAF = -1  # a leaf's child in XGBoost's JSON


def ensemble(boosters: Sequence[xgb.Booster]) -> dict[str, Any]:
    """Attributes of the node whose output, (n, 1), is the sum of the boosters' raw outputs."""
    nodes: dict[str, list[Any]] = {f"nodes_{name}": [] for name in _NODE}
    leaves: dict[str, list[Any]] = {f"target_{name}": [] for name in ("treeids", "nodeids", "ids", "weights")}
    trees = [tree for booster in boosters for tree in _trees(booster)]
    for number, tree in enumerate(trees):
        _add(nodes, leaves, number, tree)
    return {
        **nodes,
        **leaves,
        "n_targets": 1,
        "base_values": [sum(intercept(booster) for booster in boosters)],
        "aggregate_function": "SUM",
        "post_transform": "NONE",
    }


def _trees(booster: xgb.Booster) -> list[dict[str, Any]]:
    model = json.loads(booster.save_raw("json"))
    trees: list[dict[str, Any]] = model["learner"]["gradient_booster"]["model"]["trees"]
    return trees


def _add(nodes: dict[str, list[Any]], leaves: dict[str, list[Any]], number: int, tree: Any) -> None:
    for node, (left, right) in enumerate(zip(tree["left_children"], tree["right_children"], strict=True)):
        leaf = left == _LEAF
        value = tree["split_conditions"][node]
        nodes["nodes_treeids"].append(number)
        nodes["nodes_nodeids"].append(node)
        nodes["nodes_featureids"].append(0 if leaf else tree["split_indices"][node])
        nodes["nodes_values"].append(0.0 if leaf else value)
        nodes["nodes_modes"].append("LEAF" if leaf else "BRANCH_LT")
        nodes["nodes_truenodeids"].append(0 if leaf else left)
        nodes["nodes_falsenodeids"].append(0 if leaf else right)
        nodes["nodes_missing_value_tracks_true"].append(0 if leaf else int(tree["default_left"][node]))
        if leaf:
            leaves["target_treeids"].append(number)
            leaves["target_nodeids"].append(node)
            leaves["target_ids"].append(0)
            leaves["target_weights"].append(value)
