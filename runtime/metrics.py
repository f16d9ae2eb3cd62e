"""AugServe's counters in the engine's process, and their way to the /metrics of the API server's process."""

import contextlib
import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest, values

from ..data.atomic import write_text
from ..models.serving.target import OUTPUT_LENGTH, TOOL_DURATION

logger = logging.getLogger(__name__)

FOLDER_VARIABLE = "AUGSERVE_METRICS_FOLDER"
"""Set by the plugin in the API server's process, inherited by the engines: each writes `<pid>.prom` there."""
PUBLISH_S = 1.0


class Metrics:
    """All counters, labelled by the engine's number (one an engine of data parallelism).

    Where vLLM runs prometheus_client in its multiprocess mode, that mode carries the values to /metrics. Otherwise a
    thread writes them, at most once in PUBLISH_S, to a file that the plugin's collector reads.
    """

    def __init__(self, engine: int, version: str, mode: str) -> None:
        multiprocess = values.ValueClass is not values.MutexValue
        registry = self._registry = CollectorRegistry()
        label = str(engine)

        def counter(name: str, meaning: str) -> Counter:
            return Counter(name, meaning, ["engine"], registry=registry).labels(label)

        def gauge(name: str, meaning: str) -> Gauge:
            return Gauge(name, meaning, ["engine"], registry=registry, multiprocess_mode="mostrecent").labels(label)

        def labelled_gauge(name: str, meaning: str, by: str) -> Gauge:
            return Gauge(name, meaning, [by, "engine"], registry=registry, multiprocess_mode="mostrecent")

        self.predictions = counter("augserve_predictions", "Turns whose output, session and pause were predicted.")
        self.reorders = counter(
            "augserve_reorders", "Steps in which the value order put another turn first than vLLM's."
        )
        self.recorder_dropped = counter("augserve_recorder_dropped", "Trace rows that could not be kept.")
        self.token_budget = gauge(
            "augserve_token_budget", "Token budget of the last step (in shadow mode: as it would be)."
        )
        self.sessions = gauge("augserve_sessions", "Sessions that are remembered.")
        self.sessions_closed = counter("augserve_sessions_closed", "Sessions forgotten: abandoned, or one too many.")
        self.pinned_tokens = gauge("augserve_pinned_tokens", "KV tokens that are kept for paused sessions.")
        self._contexts = Counter(
            "augserve_context_decisions",
            "Contexts of sessions whose turn finished, by what becomes of them: preserve, discard.",
            ["decision", "engine"],
            registry=registry,
        )
        self._pins = Counter(
            "augserve_pins_released",
            "Kept contexts that were let go, by why (hit: the session's next turn holds it).",
            ["by", "engine"],
            registry=registry,
        )
        self._linked = Counter(
            "augserve_linked_turns",
            "Turns without a session id of the caller's, by what told their session (nothing: it is a new one).",
            ["by", "engine"],
            registry=registry,
        )
        self._corrections = labelled_gauge(
            "augserve_correction", "Factor that predictions are multiplied by, for want of a better known.", "quantity"
        )
        self._coverage = labelled_gauge(
            "augserve_coverage", "Recent share of actual values in their 80 % interval.", "quantity"
        )
        self._trained_coverage = labelled_gauge(
            "augserve_coverage_trained",
            "The same share on the sessions held out of training: what augserve_coverage is to be held against.",
            "quantity",
        )
        self._widths = labelled_gauge(
            "augserve_interval_width", "What intervals are widened by, on log scale (1: as trained).", "quantity"
        )
        self._psi = labelled_gauge(
            "augserve_psi",
            "Population stability index of a feature (tool_call.…: of an expected call) against the training data.",
            "feature",
        )
        self._fallbacks = Counter(
            "augserve_fallbacks",
            "Decisions left to vLLM's own way, by reason.",
            ["reason", "engine"],
            registry=registry,
        )
        self._engine = label
        info = Gauge(
            "augserve_info",
            "Always 1; its labels name the bundle's version and the mode.",
            ["version", "mode", "engine"],
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        info.labels(version, mode, label).set(1)
        folder = os.environ.get(FOLDER_VARIABLE)
        self._publisher = None
        if folder and not multiprocess:
            self._publisher = _Publisher(registry, Path(folder) / f"{os.getpid()}.prom")

    def value(self, name: str, **labels: str) -> float:
        """This engine's value of a metric, named without `augserve_`: the sum of all samples with these labels."""
        wanted = {"engine": self._engine, **labels}.items()
        return sum(
            sample.value
            for family in self._registry.collect()
            if family.name == f"augserve_{name}"
            for sample in family.samples
            if wanted <= sample.labels.items() and not sample.name.endswith("_created")
        )

    def fallback(self, reason: str) -> None:
        self._fallbacks.labels(reason, self._engine).inc()

    def corrected(self, quantity: str, factor: float, coverage: float, width: float) -> None:
        self._corrections.labels(quantity, self._engine).set(factor)
        self._coverage.labels(quantity, self._engine).set(coverage)
        self._widths.labels(quantity, self._engine).set(width)

    def trained_coverage(self, coverage: Mapping[str, float]) -> None:
        """`coverage` by the target's name."""
        for target in (OUTPUT_LENGTH, TOOL_DURATION):
            if target.name in coverage:
                self._trained_coverage.labels(target.name.replace("_", " "), self._engine).set(coverage[target.name])

    def drift(self, feature: str, psi: float) -> None:
        self._psi.labels(feature, self._engine).set(psi)

    def context(self, decision: str) -> None:
        self._contexts.labels(decision, self._engine).inc()

    def pin_released(self, by: str) -> None:
        self._pins.labels(by, self._engine).inc()

    def linked(self, by: str) -> None:
        self._linked.labels(by, self._engine).inc()

    def close(self) -> None:
        if self._publisher is not None:
            self._publisher.close()


class _Publisher:
    """Writes the registry's text to a file whenever it has changed."""

    def __init__(self, registry: CollectorRegistry, path: Path) -> None:
        self._registry = registry
        self._path = path
        self._last = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="augserve-metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5.0)
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        failed = False
        while True:
            try:
                self._publish()
                failed = False
            except Exception as error:  # noqa: BLE001 — metrics never stop the engine
                if not failed:
                    logger.warning(
                        "augserve: cannot publish metrics to %s (%r); /metrics goes without new ones until it works "
                        "again: it is tried each second",
                        self._path,
                        error,
                    )
                failed = True
            if self._stop.wait(PUBLISH_S):
                return

    def _publish(self) -> None:
        text = generate_latest(self._registry).decode()
        if text != self._last:
            write_text(self._path, text)
            self._last = text
