"""AugServe's metrics in the engine's process, and their way to the API server's /metrics."""

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest, values

from ..data.atomic import write_text
from ..models.serving.target import OUTPUT_LENGTH, TOOL_DURATION

logger = logging.getLogger(f"vllm.{__name__}")

FOLDER_VARIABLE = "AUGSERVE_METRICS_FOLDER"
"""Set by the plugin in the API server and inherited by the engines; each engine writes `<pid>.prom` there."""
PUBLISH_S = 1.0


class Metrics:
    """The metrics of one engine, labelled by its number under data parallelism.

    If vLLM runs prometheus_client in multiprocess mode, that mode carries the values to /metrics. Otherwise a thread
    writes them, at most once in PUBLISH_S, to a file that the plugin's collector reads.
    """

    def __init__(self, engine: int, version: str, mode: str) -> None:
        self._registry = CollectorRegistry()
        self._engine = str(engine)
        counter, gauge = self._counter, self._gauge
        self.predictions = counter("predictions", "Predicted turns.")
        self.reorders = counter("reorders", "Steps in which the value puts another turn first than vLLM's order.")
        self.recorder_dropped = counter("recorder_dropped", "Dropped trace rows.")
        self.token_budget = gauge("token_budget", "Token budget of the last step; in shadow mode it is not applied.")
        self.sessions = gauge("sessions", "Live sessions.")
        self.sessions_closed = counter("sessions_closed", "Dropped sessions: idle for too long, or one too many.")
        self.pinned_tokens = gauge("pinned_tokens", "KV tokens pinned for paused sessions.")
        self.held_turns = gauge("held_turns", "Heavy turns that wait for admission.")
        self.admission_bound = gauge(
            "admission_bound_seconds", "Longest wait for admission of a heavy turn that arrives now; 0: none waits."
        )
        self.expected_wait = gauge(
            "expected_wait_seconds", "Expected wait of a turn that arrives now, where refuse_after_s is set."
        )
        self.context = self._count_by(
            "context_decisions", "Contexts of finished turns: preserve (pinned) or discard.", "decision"
        )
        self.pin_released = self._count_by(
            "pins_released", "Released pins by reason; hit: the session's next turn uses it.", "by"
        )
        self.linked = self._count_by(
            "linked_turns", "Turns whose caller names no session, by how it was found; nothing: a new session.", "by"
        )
        self._corrections = gauge("correction", "Factor on predictions for unknown tools.", "quantity")
        self._coverage = gauge("coverage", "Recent share of actual values in their 80 % interval.", "quantity")
        self._trained_coverage = gauge(
            "coverage_trained", "The same share on held-out training sessions, to compare with.", "quantity"
        )
        self._widths = gauge("interval_width", "Factor on interval widths, on log scale; 1: as trained.", "quantity")
        self._psi = gauge(
            "psi", "Population stability index against the training data; tool_call.…: of an expected call.", "feature"
        )
        self.fallback = self._count_by("fallbacks", "Decisions left to vLLM's own behaviour, by reason.", "reason")
        self._suspended = gauge(
            "suspended", "1 while a part of AugServe is suspended, by its fallback's reason.", "part"
        )
        self._gauge("info", "Always 1; the labels name the bundle's version and the mode.", "version", "mode").labels(
            version, mode, self._engine
        ).set(1)
        self._gauge("since_seconds", "Unix time from which this bundle and this mode decide.").set_to_current_time()
        folder, multiprocess = os.environ.get(FOLDER_VARIABLE), values.ValueClass is not values.MutexValue
        self._publisher = None
        if folder and not multiprocess:
            self._publisher = _Publisher(self._registry, Path(folder) / f"{os.getpid()}.prom")

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

    def suspended(self, part: str, is_suspended: bool) -> None:
        self._suspended.labels(part, self._engine).set(is_suspended)

    def corrected(self, quantity: str, factor: float, coverage: float, width: float) -> None:
        self._corrections.labels(quantity, self._engine).set(factor)
        self._coverage.labels(quantity, self._engine).set(coverage)
        self._widths.labels(quantity, self._engine).set(width)

    def trained_coverage(self, coverage: Mapping[str, float]) -> None:
        """`coverage`: share by the name of the target."""
        for target in (OUTPUT_LENGTH, TOOL_DURATION):
            if target.name in coverage:
                self._trained_coverage.labels(target.name.replace("_", " "), self._engine).set(coverage[target.name])

    def drift(self, feature: str, psi: float) -> None:
        self._psi.labels(feature, self._engine).set(psi)

    def close(self) -> None:
        if self._publisher is not None:
            self._publisher.close()

    def _counter(self, name: str, meaning: str) -> Counter:
        return Counter(f"augserve_{name}", meaning, ["engine"], registry=self._registry).labels(self._engine)

    def _count_by(self, name: str, meaning: str, label: str) -> Callable[[str], None]:
        """A function that counts one more of a label's value."""
        counter = Counter(f"augserve_{name}", meaning, [label, "engine"], registry=self._registry)
        return lambda value: counter.labels(value, self._engine).inc()

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        every = [*labels, "engine"]
        gauge = Gauge(f"augserve_{name}", meaning, every, registry=self._registry, multiprocess_mode="mostrecent")
        return gauge if labels else gauge.labels(self._engine)


class _Publisher:
    """A thread that writes the registry's text to a file whenever it changes."""

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
                text = generate_latest(self._registry).decode()
                if text != self._last:
                    write_text(self._path, text)
                    self._last = text
                failed = False
            except Exception as error:  # noqa: BLE001 — metrics never stop the engine
                if not failed:
                    message = "augserve: cannot publish metrics to %s (%r), so /metrics is out of date; retrying"
                    logger.warning(message, self._path, error)
                failed = True
            if self._stop.wait(PUBLISH_S):
                return
