"""Prediction with ONNX Runtime.

Each feature set has one graph with the models of all its targets: one run predicts everything for a batch. Batches are
not split, since ONNX Runtime walks one tree over 128 rows before the next.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from ...data.one_line import one_line
from ...features import feature
from ...features.feature import Feature
from ...features.tool_call import TOOL_CALL_FEATURES
from ...features.turn import TURN_FEATURES
from .graph_rules import GraphRuleError, check_graph
from .predictor import Rows, TurnPredictions
from .target import (
    ENDS_IN_TOOL,
    LOG_CEILING,
    OUTPUT_LENGTH,
    QUANTILES,
    SESSION_REMAINING,
    SESSION_REMAINING_TOKENS,
    TOOL_DURATION,
    Target,
)
from .tool_tables import EXPECTED_DURATION, TableError, ToolTables

MODELS_KEY = "augserve.models"  # a JSON list of model names, in the order of the output's columns
FEATURES_KEY = "augserve.features"  # a JSON list of names, in the input's columns' order
VERSION_KEY = "augserve.features_version"
TABLES_KEY = "augserve.tables"  # quantiles by tool (tool_tables.py); missing in models of earlier releases
INPUT = "rows"
_CEILING = np.float32(LOG_CEILING)


class PredictorError(ValueError):
    """A model file is unusable, or rows do not fit it; the message names the model, the cause and the remedy."""


@dataclass(frozen=True, slots=True)
class Graph:
    """The models of one feature set, in one ONNX file. Targets with quantiles come first."""

    file: str
    features: tuple[Feature, ...]
    targets: tuple[Target, ...]
    tables: tuple[str, ...]  # quantiles by tool in its metadata

    @property
    def model_names(self) -> list[str]:
        return [name for target in self.targets for name in target.model_names]


_OF_TURNS = (OUTPUT_LENGTH, SESSION_REMAINING, SESSION_REMAINING_TOKENS)
TURNS = Graph("turns.onnx", TURN_FEATURES, (*_OF_TURNS, ENDS_IN_TOOL), tuple(target.name for target in _OF_TURNS))
TOOL_CALLS = Graph("tool_calls.onnx", TOOL_CALL_FEATURES, (TOOL_DURATION,), (TOOL_DURATION.name, EXPECTED_DURATION))
GRAPHS = (TURNS, TOOL_CALLS)


def model_files() -> tuple[str, ...]:
    return tuple(graph.file for graph in GRAPHS)


class OnnxPredictor:
    """A `Predictor` that runs on the calling thread."""

    def __init__(self, models: Mapping[str, bytes], checked: bool = False) -> None:
        """`models`: file name → content. `checked`: another process has checked these graphs, which holds up the
        interpreter for 0.2 s. Raises PredictorError for a missing or unfit model."""
        self._turns = _GraphSession(TURNS, models, checked)
        self._tool_calls = _GraphSession(TOOL_CALLS, models, checked)
        written = [session.tables for session in (self._turns, self._tool_calls)]
        try:
            self.tables = ToolTables.parse(text for text in written if text is not None)
        except TableError as error:
            raise PredictorError(f"{TABLES_KEY}: {error}") from error

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the models of a folder. Raises PredictorError for a missing file or an unfit model."""
        try:
            return cls({name: (folder / name).read_bytes() for name in model_files()})
        except OSError as error:
            raise PredictorError(f"{error.filename}: {error.strerror}; run `dvc repro export`") from error

    def turns(self, rows: Rows) -> TurnPredictions:
        answer = self._turns.answer(rows)
        quantiles = self._turns.quantiles(answer)
        odds = answer[:, -1]
        return TurnPredictions(quantiles[:, 0], quantiles[:, 1], quantiles[:, 2], odds / (1 + odds))

    def tool_duration(self, rows: Rows) -> Rows:
        duration: Rows = self._tool_calls.quantiles(self._tool_calls.answer(rows))[:, 0]
        return duration


class _GraphSession:
    """One graph in ONNX Runtime."""

    def __init__(self, graph: Graph, models: Mapping[str, bytes], checked: bool) -> None:
        self._graph = graph
        self._session = _open(graph, models, checked)
        self.tables: str | None = self._session.get_modelmeta().custom_metadata_map.get(TABLES_KEY)
        self._width = len(graph.features)
        self._outputs = [part.name for part in self._session.get_outputs()]
        targets = [target for target in graph.targets if target.kind == "quantiles"]
        self._floors = np.array([target.floor for target in targets], np.float32)[:, None]
        least = np.full(len(graph.model_names), -LOG_CEILING, np.float32)
        least[: self._floors.size * len(QUANTILES)] = np.repeat(np.log(self._floors), len(QUANTILES))
        self._least = least

    def answer(self, rows: Rows) -> Rows:
        """Shape (n, models): unsorted quantiles, and odds in the last column if the graph has a probability."""
        graph = self._graph
        if rows.ndim != 2 or rows.shape[1] != self._width:
            raise PredictorError(f"{graph.file}: rows of shape {rows.shape}, expected (n, {self._width})")
        if not rows.shape[0]:
            return np.empty((0, len(self._least)), np.float32)
        margins: Rows = self._session.run(self._outputs, {INPUT: np.ascontiguousarray(rows, np.float32)})[0]
        np.minimum(margins, _CEILING, out=margins)
        np.maximum(margins, self._least, out=margins)
        return np.exp(margins, out=margins)

    def quantiles(self, answer: Rows) -> NDArray[np.float32]:
        """(n, targets, quantiles) in the targets' units, sorted along the last axis, so that quantiles never cross."""
        shape = (len(answer), len(self._floors), len(QUANTILES))
        quantiles: Rows = np.maximum(answer[:, : shape[1] * shape[2]].reshape(shape), self._floors)
        quantiles.sort(axis=2)
        return quantiles


def _open(graph: Graph, models: Mapping[str, bytes], checked: bool) -> Any:
    if graph.file not in models:
        raise PredictorError(f"{graph.file}: this model is missing; run `dvc repro export`")
    try:
        if not checked:
            check_graph(models[graph.file], len(graph.features), len(graph.model_names))
    except GraphRuleError as error:
        raise PredictorError(f"{graph.file}: not a usable ONNX model: {error}; export it again") from error
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # an arena of some MiB for outputs of some KiB
    options.log_severity_level = 4  # an exception reports a bad model; no log
    try:
        session = ort.InferenceSession(models[graph.file], options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no public base class
        raise PredictorError(
            f"{graph.file}: not a usable ONNX model: {one_line(error, 200)}; export it again"
        ) from error
    _check(graph, session)
    return session


def _check(graph: Graph, session: Any) -> None:
    metadata = session.get_modelmeta().custom_metadata_map
    expected = {
        MODELS_KEY: json.dumps(graph.model_names),
        VERSION_KEY: str(feature.VERSION),
        FEATURES_KEY: json.dumps([part.name for part in graph.features]),
    }
    for key, value in expected.items():
        if metadata.get(key) != value:
            raise PredictorError(f"{graph.file}: {key} differs from this release's; retrain with this release")
    shapes = [[(part.name, part.shape[-1]) for part in side] for side in (session.get_inputs(), session.get_outputs())]
    if shapes[0] != [(INPUT, len(graph.features))] or [width for _, width in shapes[1]] != [len(graph.model_names)]:
        raise PredictorError(
            f"{graph.file}: inputs {shapes[0]} and outputs {shapes[1]} do not fit its models; export it again"
        )
