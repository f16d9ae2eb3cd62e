"""AugServe's metrics in the engine's process."""

from collections.abc import Callable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ..models.serving.target import OUTPUT_LENGTH, TOOL_DURATION
from .bundle_role import CHAMPION
from .publisher import Publisher

PART_S = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.02, 0.05, 0.2)
WAIT_S = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
RATIOS = (0.125, 0.25, 0.5, 0.8, 1.25, 2.0, 4.0, 8.0)
"""Upper bounds of the histograms' buckets."""


class Metrics:
    """The metrics of one engine, labelled by its number under data parallelism; the API server shows them."""

    def __init__(self, engine: int, version: str, mode: str, settings: str = "") -> None:
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
        self.resident = gauge("resident_sessions", "Sessions that hold KV memory: running turns and kept contexts.")
        self.working_set = gauge("working_set_tokens", "KV tokens of the resident sessions and of admitted turns.")
        self.working_set_share = gauge("working_set_share", "The working set as a share of the KV cache.")
        self.working_set_limit = gauge("working_set_limit_tokens", "KV tokens that the working set may fill; 0: off.")
        self.held_turns = gauge("held_turns", "Heavy turns that wait for admission.")
        self.admission_bound = gauge(
            "admission_bound_seconds", "Longest wait for admission of a heavy turn that arrives now; 0: none waits."
        )
        self.backlog = gauge("backlog_seconds", "Expected engine time of the turns that wait and run.")
        self.expected_wait = gauge(
            "expected_wait_seconds", "Expected wait of a turn that arrives now, where refuse_after_s is set."
        )
        self.admission_wait = self._observe_by(
            "admission_wait_seconds", "Waits of heavy turns, by how they were admitted.", "to", WAIT_S
        )
        self.prompt_tokens = self._count_by(
            "prompt_tokens",
            "Prompt tokens of turns with a first token: cached, new, or again (of a context that was lost).",
            "part",
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
            "suspended", "1 while a part of AugServe is suspended, with its error.", "part", "reason"
        )
        self._suspended_for: dict[str, str] = {}
        self.took = self._observe_by("part_seconds", "Engine time of each part's calls without error.", "part", PART_S)
        self._forecast_ratio = Histogram(
            "augserve_forecast_ratio",
            "Actual value over the forecast's median.",
            ["quantity", "bundle", "engine"],
            registry=self._registry,
            buckets=RATIOS,
        )
        self.turns = self._count_by("turns", "Ended turns, by the bundle that forecast them.", "bundle")
        self.turns_in_slo = self._count_by("turns_in_slo", "Those that met the SLO of the settings.", "bundle")
        self.ttft = self._observe_by("ttft_seconds", "Times to the first token of ended turns.", "bundle", WAIT_S)
        self._candidate = self._gauge(
            "candidate_info", "1 for the candidate that forecasts; else 0.", "version", "share"
        )
        self._candidate_is: tuple[str, ...] = ()
        self.bundle_changes = self._count_by(
            "bundle_changes", "Bundles at run time: loaded, refused, or withdrawn after failures or drift.", "result"
        )
        for result in ("loaded", "refused", "withdrawn"):
            self.bundle_changes(result, 0.0)  # so that Prometheus sees the first increase
        self.pending_changes = gauge("pending_changes", "Changes that wait for the next step.")
        self.registry_failing = gauge(
            "registry_failing", "1 while the registry does not answer, or its bundle is not taken."
        )
        self._info = self._gauge(
            "info", "1 for what decides now: bundle, mode, changed settings; else 0.", "version", "mode", "settings"
        )
        self._since = gauge("since_seconds", "Unix time from which this bundle and this mode decide.")
        self._decides: tuple[str, ...] = ()
        self.deciding(version, mode, settings)
        self._publisher = Publisher.where_needed(self._registry)

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

    def deciding(self, version: str, mode: str, settings: str) -> None:
        """What decides from now on. `settings`: those that the operator has changed."""
        if self._decides:
            self._info.labels(*self._decides).set(0)
        self._decides = (version, mode, settings, self._engine)
        self._info.labels(*self._decides).set(1)
        self._since.set_to_current_time()

    def candidate(self, version: str | None, share: float) -> None:
        """The candidate that forecasts for a share of the sessions from now on; None: there is none."""
        if self._candidate_is:
            self._candidate.labels(*self._candidate_is).set(0)
        self._candidate_is = () if version is None else (version, f"{share:g}", self._engine)
        if self._candidate_is:
            self._candidate.labels(*self._candidate_is).set(1)

    def forecast_ratio(self, quantity: str, ratio: float, bundle: str = CHAMPION) -> None:
        """An actual value over the median that the bundle's models forecast."""
        self._forecast_ratio.labels(quantity, bundle, self._engine).observe(ratio)

    def suspended(self, part: str, reason: str | None) -> None:
        """`reason`: the kind of error; None: the part works again."""
        if (before := self._suspended_for.pop(part, None)) is not None:
            self._suspended.labels(part, before, self._engine).set(0)
        if reason is not None:
            self._suspended_for[part] = reason
            self._suspended.labels(part, reason, self._engine).set(1)

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

    def _count_by(self, name: str, meaning: str, label: str) -> Callable[..., None]:
        """A function that counts one more of a label's value, or `amount` more."""
        counter = Counter(f"augserve_{name}", meaning, [label, "engine"], registry=self._registry)
        children: dict[str, Counter] = {}

        def count(value: str, amount: float = 1.0) -> None:
            if (child := children.get(value)) is None:
                child = children[value] = counter.labels(value, self._engine)
            child.inc(amount)

        return count

    def _observe_by(self, name: str, meaning: str, label: str, bounds: Sequence[float]) -> Callable[[str, float], None]:
        """A function that adds an observation of a label's value to a histogram."""
        histogram = Histogram(f"augserve_{name}", meaning, [label, "engine"], registry=self._registry, buckets=bounds)
        children: dict[str, Histogram] = {}

        def observe(value: str, amount: float) -> None:
            if (child := children.get(value)) is None:
                child = children[value] = histogram.labels(value, self._engine)
            child.observe(amount)

        return observe

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        every = [*labels, "engine"]
        gauge = Gauge(f"augserve_{name}", meaning, every, registry=self._registry, multiprocess_mode="mostrecent")
        return gauge if labels else gauge.labels(self._engine)
