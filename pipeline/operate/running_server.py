"""What a running server says of AugServe in its /metrics."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from ...runtime.bundle_role import CANDIDATE, CHAMPION
from ...runtime.prediction.correction import COVERAGE
from ...runtime.prediction.drift import ALARM_PSI, ALARM_SHARE
from ..project.stage import StageError
from .finding import Finding

TIMEOUT_S = 10.0
LOW_COVERAGE = COVERAGE - 0.2
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Sample:
    labels: dict[str, str]
    value: float


class Scrape:
    """AugServe's samples in a text of metrics."""

    def __init__(self, text: str) -> None:
        self._samples: dict[str, list[Sample]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples if family.name.startswith("augserve_") else ():
                self._samples.setdefault(sample.name.removeprefix("augserve_"), []).append(
                    Sample(dict(sample.labels), float(sample.value))
                )

    def of(self, name: str, **labels: str) -> list[Sample]:
        """The samples of a metric, named without `augserve_`, with these labels."""
        return [sample for sample in self._samples.get(name, ()) if labels.items() <= sample.labels.items()]

    def total(self, name: str, **labels: str) -> float:
        return sum(sample.value for sample in self.of(name, **labels))


def scrape(url: str) -> Scrape:
    """The metrics of the server at `url`, with or without /v1. Raises StageError without an answer."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise StageError(f"--url: {url!r} is no address of a server; write http://HOST:PORT")
    address = f"{url.rstrip('/').removesuffix('/v1')}/metrics"
    proxies = urllib.request.ProxyHandler({} if parts.hostname in _LOOPBACK else None)
    try:
        with urllib.request.build_opener(proxies).open(address, timeout=TIMEOUT_S) as response:
            return Scrape(response.read().decode("utf-8", "replace"))
    except (OSError, ValueError) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        raise StageError(f"{address}: {cause}; start the server or correct --url") from error


def check_running(found: Scrape) -> Iterator[Finding]:
    infos = [sample for sample in found.of("info") if sample.value]
    if not infos:
        yield Finding("augserve", "bad", "not in this server: no augserve_info; start vLLM with --scheduler-cls")
        return
    for info in sorted(infos, key=lambda info: info.labels["engine"]):
        yield from _check_one_engine(found, info.labels)


def _check_one_engine(found: Scrape, info: dict[str, str]) -> Iterator[Finding]:
    engine = info["engine"]
    name, mode = f"engine {engine}", info["mode"]
    since = "".join(
        f" since {datetime.fromtimestamp(sample.value, UTC):%Y-%m-%d %H:%M} UTC"
        for sample in found.of("since_seconds", engine=engine)
    )
    bundle = "no bundle" if mode == "observe" else f"bundle {info['version']}"
    changed = f", settings changed: {info['settings']}" if info.get("settings") else ""
    yield Finding(name, "ok" if mode == "active" else "note", f"mode {mode}, {bundle}{since}{changed}")
    yield from _check_candidate(found, name, engine)
    if found.total("pending_changes", engine=engine):
        yield Finding(name, "note", "another bundle or mode waits for the next request")
    if found.total("registry_failing", engine=engine):
        yield Finding(name, "note", "the registry does not answer, or its bundle is not taken; the log says why")
    for result in ("refused", "withdrawn"):
        if count := found.total("bundle_changes_total", engine=engine, result=result):
            message = f"{count:,.0f} bundles {result} since the start; the server's log says why"
            yield Finding(name, "note", message)
    for sample in found.of("suspended", engine=engine):
        if sample.value:
            reason = sample.labels.get("reason", "")
            cause = f" ({reason})" if reason else ""
            message = f"{sample.labels['part']} is suspended{cause}; the server's log has the error"
            yield Finding(name, "bad", message)
    predictions, fallbacks = found.total("predictions_total", engine=engine), found.of("fallbacks_total", engine=engine)
    if mode != "observe":
        yield Finding(name, "ok" if predictions else "note", f"{predictions:,.0f} turns predicted")
    if left := {sample.labels["reason"]: sample.value for sample in fallbacks if sample.value}:
        counts = ", ".join(f"{reason} {count:,.0f}" for reason, count in sorted(left.items()))
        yield Finding(name, "note", f"decisions left to vLLM: {counts}")
    yield from _check_forecasts(found, name, engine)
    if dropped := found.total("recorder_dropped_total", engine=engine):
        yield Finding(
            name, "note", f"{dropped:,.0f} trace rows were dropped; see that their folder is writable and fast"
        )


def _check_candidate(found: Scrape, name: str, engine: str) -> Iterator[Finding]:
    for info in found.of("candidate_info", engine=engine):
        if info.value:
            told = "".join(_in_slo(found, engine, bundle) for bundle in (CHAMPION, CANDIDATE))
            share = float(info.labels["share"])
            yield Finding(
                name, "note", f"candidate {info.labels['version']} forecasts for {share:.0%} of sessions{told}"
            )


def _in_slo(found: Scrape, engine: str, bundle: str) -> str:
    turns, met = (found.total(f"{name}_total", engine=engine, bundle=bundle) for name in ("turns", "turns_in_slo"))
    return f"; {bundle}: {met / turns:.1%} of {turns:,.0f} turns in SLO" if turns else ""


def _check_forecasts(found: Scrape, name: str, engine: str) -> Iterator[Finding]:
    remedy = "retrain on this server's traces: make retrain TRACES=FOLDER"
    drifts = [sample.value > ALARM_PSI for sample in found.of("psi", engine=engine)]
    if drifts and sum(drifts) > ALARM_SHARE * len(drifts):
        yield Finding(name, "note", f"{sum(drifts)} of {len(drifts)} features have drifted; {remedy}")
    for sample in found.of("coverage", engine=engine):
        if sample.value < LOW_COVERAGE:
            message = f"{sample.value:.0%} of the 80 % intervals of {sample.labels['quantity']} hold; {remedy}"
            yield Finding(name, "note", message)
