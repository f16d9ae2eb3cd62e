"""`drift.json`: histograms of the training rows' features and the intervals' coverage, as a reference for drift.

Export writes it. The runtime counts live rows into the same bins and compares the two (PSI).
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
BINS = 8  # between the training rows' quantiles; repeated values give fewer


@dataclass(frozen=True, slots=True)
class Histogram:
    """Shares of the training rows by bin: the missing values, then the k + 1 bins around the k edges.

    A value belongs to the bin of the first upper edge that is not below it.
    """

    edges: NDArray[np.float32]
    shares: NDArray[np.float64]

    def bins(self, values: NDArray[np.float32]) -> NDArray[np.int64]:
        """Index into `shares` of each value, shape (n,)."""
        bins = 1 + np.searchsorted(self.edges, values, side="left")
        return np.asarray(np.where(np.isnan(values), 0, bins), np.int64)

    def psi(self, counts: Sequence[float] | NDArray[np.float64]) -> float:
        """Population stability index of live `counts`, by bin: Σ (p - q)·ln(p / q), both smoothed by half a row."""
        live = (np.asarray(counts, np.float64) + 0.5) / (np.sum(counts) + 0.5 * len(self.shares))
        trained = (self.shares + 1e-4) / (1 + 1e-4 * len(self.shares))
        return float(np.sum((live - trained) * np.log(live / trained)))


@dataclass(frozen=True, slots=True)
class DriftReference:
    """The histograms by graph (`turns`, `tool_calls`), in the order of its features, and each target's coverage.

    Coverage: the share of held-out values in the 80 % interval.
    """

    histograms: Mapping[str, tuple[Histogram, ...]]
    coverage_80: Mapping[str, float]

    def render(self) -> bytes:
        sets = {
            graph: [{"edges": part.edges.tolist(), "shares": part.shares.round(5).tolist()} for part in histograms]
            for graph, histograms in self.histograms.items()
        }
        value = {"features_version": feature.VERSION, "coverage_80": dict(self.coverage_80), "histograms": sets}
        return (json.dumps(value, sort_keys=True) + "\n").encode()

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Raises PredictorError for other content, or other features."""
        remedy = "export the models again with this release"
        try:
            value = json.loads(content)
            version, coverage = value["features_version"], value["coverage_80"]
            histograms = {_name(graph): tuple(map(_histogram, value["histograms"][_name(graph)])) for graph in GRAPHS}
            coverage = {str(name): float(share) for name, share in coverage.items()}
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise PredictorError(f"{DRIFT_FILE}: not a reference for drift ({error}); {remedy}") from error
        if version != feature.VERSION or any(len(histograms[_name(graph)]) != len(graph.features) for graph in GRAPHS):
            raise PredictorError(f"{DRIFT_FILE}: made with features of version {version}; {remedy}")
        return cls(histograms, coverage)


def reference(rows: Mapping[str, Rows], coverage_80: Mapping[str, float]) -> DriftReference:
    """`rows`: training rows by graph file, each of shape (n, features of the graph)."""
    histograms = {
        _name(graph): tuple(_of_column(rows[graph.file][:, index]) for index in range(len(graph.features)))
        for graph in GRAPHS
    }
    return DriftReference(histograms, coverage_80)


def _name(graph: Graph) -> str:
    return graph.file.removesuffix(".onnx")


def _of_column(column: NDArray[np.float32]) -> Histogram:
    values = column[~np.isnan(column)]
    edges = np.unique(np.quantile(values, np.arange(1, BINS) / BINS, method="lower")) if len(values) else values
    histogram = Histogram(np.asarray(edges, np.float32), np.empty(0))
    counts = np.bincount(histogram.bins(column), minlength=len(edges) + 2)
    return Histogram(histogram.edges, counts / max(len(column), 1))


def _histogram(value: Mapping[str, Any]) -> Histogram:
    edges, shares = np.asarray(value["edges"], np.float32), np.asarray(value["shares"], np.float64)
    if edges.ndim != 1 or shares.shape != (len(edges) + 2,) or not np.all(np.isfinite(shares) & (shares >= 0)):
        raise ValueError("a histogram without a share for each bin")
    return Histogram(edges, shares)
