"""What a model file may hold, checked on its bytes before ONNX Runtime reads them.

Allowed is what `models.learning.onnx_export` writes: the negatives of the features, tree ensembles over both, and their
outputs side by side. No loop, no stored tensor, no function of the file's own; trees have an end and stay inside their
input and output. So the time and the memory of a prediction are bounded by the file's size.

The reader knows protobuf's wire format and the field numbers of onnx.proto; servers do not have the package `onnx`.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

MAX_BYTES = 16 * 2**20
"""Largest model file. Those made here have less than half a MiB."""

Fields = list[tuple[int, Any]]

_MODEL_FIELDS = {1, 2, 3, 4, 5, 6, 8, 14}  # versions, producer, documentation, operator sets, metadata
_GRAPH_FIELDS = {2, 10, 11, 12, 13}  # name, documentation, inputs, outputs, value infos
_GRAPH, _NODES = 7, 1
_NODE_FIELDS = {"input": 1, "output": 2, "name": 3, "op_type": 4, "attribute": 5, "doc_string": 6, "domain": 7}
_ATTRIBUTE_FIELDS = {"name": 1, "f": 2, "i": 3, "s": 4, "floats": 7, "ints": 8, "strings": 9, "doc": 13, "type": 20}
_TREES = (b"ai.onnx.ml", b"TreeEnsembleRegressor")
_MOST = {(b"", b"Neg"): 1, (b"", b"Concat"): 2}  # nodes of a kind; as many trees as models
_NODE_IDS = tuple(b"nodes_" + name for name in (b"treeids", b"nodeids", b"featureids", b"truenodeids", b"falsenodeids"))
_TARGET_IDS = (b"target_treeids", b"target_nodeids", b"target_ids")
_TREE_ATTRIBUTES = {
    *(*_NODE_IDS, *_TARGET_IDS, b"nodes_values", b"nodes_modes", b"target_weights"),
    *(b"n_targets", b"base_values", b"aggregate_function", b"post_transform"),
}
_LARGEST_ID = 2**31


class GraphRuleError(ValueError):
    """A model file holds what is not allowed; the message names it."""


def check_graph(content: bytes, features: int, models: int) -> None:
    """Check the file of a graph with this many input features and output models. Raises GraphRuleError."""
    if len(content) > MAX_BYTES:
        raise GraphRuleError(f"it has {len(content)} bytes, more than {MAX_BYTES}")
    try:
        model = list(_fields(memoryview(content)))
        graphs = [value for number, value in model if number == _GRAPH]
        _only(model, _MODEL_FIELDS | {_GRAPH}, "the file")
        if len(graphs) != 1:
            raise GraphRuleError(f"it holds {len(graphs)} graphs, not one")
        graph = list(_fields(graphs[0]))
        _only(graph, _GRAPH_FIELDS | {_NODES}, "the graph")
        _check_nodes([list(_fields(value)) for number, value in graph if number == _NODES], features, models)
    except (IndexError, TypeError, ValueError) as error:
        if isinstance(error, GraphRuleError):
            raise
        raise GraphRuleError(f"it is not an ONNX file ({error})") from error


def _check_nodes(nodes: list[Fields], features: int, models: int) -> None:
    most = _MOST | {_TREES: models}
    counts: Counter[tuple[bytes, bytes]] = Counter()
    for node in nodes:
        _only(node, set(_NODE_FIELDS.values()), "a node")
        named = {number: bytes(value) for number, value in node if number in (4, 7)}
        kind = named.get(_NODE_FIELDS["domain"], b""), named[_NODE_FIELDS["op_type"]]
        counts[kind] += 1
        if counts[kind] > most.get(kind, 0):
            raise GraphRuleError(f"operator {kind[1].decode(errors='replace')!r} is not allowed here")
        if sum(number == _NODE_FIELDS["input"] for number, _ in node) > max(models, 2):
            raise GraphRuleError("a node has too many inputs")
        attributes = _attributes(value for number, value in node if number == _NODE_FIELDS["attribute"])
        if kind == _TREES:
            _check_trees(attributes, 2 * features, models)
        elif attributes.keys() - {b"axis"}:
            raise GraphRuleError("an operator has an unknown attribute")


def _check_trees(attributes: dict[bytes, Fields], inputs: int, models: int) -> None:
    """Children come after their parents, so that each walk ends, and all ids are in their range."""
    if unknown := attributes.keys() - _TREE_ATTRIBUTES:
        raise GraphRuleError(f"attribute {unknown.pop().decode(errors='replace')!r} is not allowed")
    targets = dict(attributes[b"n_targets"])[_ATTRIBUTE_FIELDS["i"]]
    trees, nodes, columns, truths, falsehoods = (_integers(attributes, name) for name in _NODE_IDS)
    leaf_trees, leaf_nodes, outputs = (_integers(attributes, name) for name in _TARGET_IDS)
    modes = [bytes(value) for number, value in attributes[b"nodes_modes"] if number == _ATTRIBUTE_FIELDS["strings"]]
    branches = np.array([mode != b"LEAF" for mode in modes], bool)
    if not trees.size == nodes.size == columns.size == truths.size == falsehoods.size == branches.size:
        raise GraphRuleError("the lists of a tree ensemble differ in length")
    if not leaf_trees.size == leaf_nodes.size == outputs.size:
        raise GraphRuleError("the lists of a tree ensemble differ in length")
    known = trees * _LARGEST_ID + nodes
    children = np.concatenate([(trees * _LARGEST_ID + child)[branches] for child in (truths, falsehoods)])
    children_are_later = np.all(truths[branches] > nodes[branches]) and np.all(falsehoods[branches] > nodes[branches])
    if not (children_are_later and np.isin(children, known).all() and np.unique(known).size == known.size):
        raise GraphRuleError("a tree has a cycle or a missing node")
    if np.any(columns >= inputs) or np.any(outputs >= targets) or not 1 <= targets <= models:
        raise GraphRuleError("a tree reads or writes outside its rows")
    if not np.isin(leaf_trees * _LARGEST_ID + leaf_nodes, known[~branches]).all():
        raise GraphRuleError("a tree's leaf is missing")


def _attributes(values: Iterator[memoryview]) -> dict[bytes, Fields]:
    """Fields of each attribute by its name."""
    attributes: dict[bytes, Fields] = {}
    for value in values:
        fields = list(_fields(value))
        _only(fields, set(_ATTRIBUTE_FIELDS.values()), "an attribute")
        name = bytes(next(value for number, value in fields if number == _ATTRIBUTE_FIELDS["name"]))
        if name in attributes or sum(number == _ATTRIBUTE_FIELDS["name"] for number, _ in fields) > 1:
            raise GraphRuleError("an operator has an attribute twice")
        attributes[name] = fields
    return attributes


def _integers(attributes: dict[bytes, Fields], name: bytes) -> Any:
    """The integers of an attribute, each from 0 to the largest id."""
    values = [value for number, value in attributes.get(name, []) if number == _ATTRIBUTE_FIELDS["ints"]]
    if any(isinstance(value, memoryview) or value >= _LARGEST_ID for value in values):
        raise GraphRuleError("a tree has an id out of range")
    return np.array(values, np.int64)


def _only(fields: Fields, allowed: set[int], where: str) -> None:
    if unknown := {number for number, _ in fields} - allowed:
        raise GraphRuleError(f"{where} holds what is not allowed (field {min(unknown)} of onnx.proto)")


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """Number and value of each field of a message: an integer, or the bytes of anything else."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        length = {1: 8, 5: 4}.get(wire)
        if wire == 2:
            length, at = _varint(data, at)
        if length is None or at + length > len(data):
            raise ValueError(f"a field of wire type {wire} at byte {at}")
        yield number, data[at : at + length]
        at += length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("an integer is too long")
