"""What the training rows looked like, feature by feature, and how often intervals held: the measure of drift.

Written at export as `drift.json`, read by the runtime, which counts live rows into the same bins and compares (PSI).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ...features import feature
from .onnx_predictor import GRAPHS, Graph, PredictorError
from .predictor import Rows

DRIFT_FILE = "drift.json"
BINS = 8  # by the training rows' quantiles; values that repeat leave fewer


@dataclass(frozen=True, slots=True)
class Histogram:
    """Shares of the training rows by bin: the first is of missing values, then k + 1 bins between the k edges.

    A value belongs to the bin whose upper edge is the first that is not below it.
    """

    edges: NDArray[np.float32]
    shares: NDArray[np.float64]

    def bins(self, values: NDArray[np.float32]) -> NDArray[np.int64]:
        """Index into `shares` of each value, shape (n,)."""
        found = 1 + np.searchsorted(self.edges, values, side="left")
        return np.asarray(np.where(np.isnan(values), 0, found), np.int64)

    def psi(self, counts: Sequence[float] | NDArray[np.float64]) -> float:
        """Population stability index of live `counts`, by bin: Σ (p - q)·ln(p / q), both smoothed by half a row."""
        live = (np.asarray(counts, np.float64) + 0.5) / (np.sum(counts) + 0.5 * len(self.shares))
        known = (self.shares + 1e-4) / (1 + 1e-4 * len(self.shares))
        return float(np.sum((live - known) * np.log(live / known)))


@dataclass(frozen=True, slots=True)
class DriftReference:
    """By graph file without its suffix (`turns`, `tool_calls`) the histograms in the order of the features; and by
    target the share of held-out values in the 80 % interval."""

    histograms: Mapping[str, tuple[Histogram, ...]]
    coverage_80: Mapping[str, float]

    def render(self) -> bytes:
        sets = {
            graph: [{"edges": one.edges.tolist(), "shares": one.shares.round(5).tolist()} for one in histograms]
            for graph, histograms in self.histograms.items()
        }
        value = {"features_version": feature.VERSION, "coverage_80": dict(self.coverage_80), "histograms": sets}
        return (json.dumps(value, sort_keys=True) + "\n").encode()

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Raises PredictorError for what is no such file, or is of other features."""
        remedy = "export the models again with this release"
        try:
            value = json.loads(content)
            version, coverage = value["features_version"], value["coverage_80"]
            found = {_name(graph): tuple(map(_histogram, value["histograms"][_name(graph)])) for graph in GRAPHS}
            coverage = {str(name): float(share) for name, share in coverage.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PredictorError(f"{DRIFT_FILE}: no reference of drift ({error}); {remedy}") from error
        if version != feature.VERSION or any(len(found[_name(graph)]) != len(graph.features) for graph in GRAPHS):
            raise PredictorError(f"{DRIFT_FILE}: made with features of version {version}; {remedy}")
        return cls(found, coverage)


def reference(rows: Mapping[str, Rows], coverage_80: Mapping[str, float]) -> DriftReference:
    """Of training rows, (n, features of the graph) by graph file."""
    histograms = {
        _name(graph): tuple(_of_column(rows[graph.file][:, index]) for index in range(len(graph.features)))
        for graph in GRAPHS
    }
    return DriftReference(histograms, coverage_80)


def _name(graph: Graph) -> str:
    return graph.file.removesuffix(".onnx")


def _of_column(column: NDArray[np.float32]) -> Histogram:
    known = column[~np.isnan(column)]
    edges = np.unique(np.quantile(known, np.arange(1, BINS) / BINS, method="lower")) if len(known) else known
    histogram = Histogram(np.asarray(edges, np.float32), np.empty(0))
    counts = np.bincount(histogram.bins(column), minlength=len(edges) + 2)
    return Histogram(histogram.edges, counts / max(len(column), 1))


def _histogram(value: Mapping[str, Any]) -> Histogram:
    edges, shares = np.asarray(value["edges"], np.float32), np.asarray(value["shares"], np.float64)
    if edges.ndim != 1 or shares.shape != (len(edges) + 2,) or not np.all(np.isfinite(shares) & (shares >= 0)):
        raise ValueError("a histogram without a share for each bin")
    return Histogram(edges, shares)
