import time
from collections.abc import Callable
from pathlib import Path

import pytest

from augserve.pipeline.operate.finding import Finding
from augserve.pipeline.operate.running_server import Scrape, check_running, scrape
from augserve.pipeline.project.stage import StageError
from augserve.runtime import publisher as publisher_module
from augserve.runtime.metrics import Metrics

Published = Callable[[str, Callable[[Metrics], None]], Scrape]


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    """What an engine publishes after `fill`."""
    monkeypatch.setenv(publisher_module.FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setattr(publisher_module, "PUBLISH_S", 0.005)

    def publish(mode: str, fill: Callable[[Metrics], None]) -> Scrape:
        metrics = Metrics(0, "20261129-abc", mode)
        fill(metrics)
        metrics.sessions.set(77)
        deadline_s = time.monotonic() + 10
        try:
            while time.monotonic() < deadline_s:
                for path in tmp_path.glob("*.prom"):
                    if "augserve_sessions{" in (text := path.read_text()) and " 77.0" in text:
                        return Scrape(text)
                time.sleep(0.005)
        finally:
            metrics.close()
        raise AssertionError("nothing was published")

    return publish


def states(findings: list[Finding]) -> list[str]:
    return [finding.state for finding in findings]


def test_an_active_server_is_told_with_its_bundle_and_since_when(published: Published) -> None:
    findings = list(check_running(published("active", lambda metrics: metrics.predictions.inc(1234))))
    assert states(findings) == ["ok", "ok"]
    assert "20261129-abc since 20" in findings[0].message
    assert "1,234" in findings[1].message


def test_a_server_without_augserve_is_bad() -> None:
    (finding,) = check_running(Scrape('vllm:num_requests_running{engine="0"} 1.0\n'))
    assert finding.state == "bad"


def test_a_suspended_part_is_bad(published: Published) -> None:
    def suspend(metrics: Metrics) -> None:
        metrics.suspended("order", "ValueError")
        metrics.suspended("budget", "ValueError")
        metrics.suspended("budget", None)

    bad = [finding for finding in check_running(published("active", suspend)) if finding.state == "bad"]
    assert len(bad) == 1
    assert "order is suspended (ValueError)" in bad[0].message


def test_drift_and_intervals_that_do_not_hold_are_notes(published: Published) -> None:
    def drift(metrics: Metrics) -> None:
        metrics.predictions.inc()
        metrics.drift("prompt_tokens", 0.9)
        metrics.corrected("output length", 2.0, 0.4, 3.0)
        metrics.corrected("tool duration", 1.0, 0.8, 1.0)

    findings = list(check_running(published("shadow", drift)))
    assert states(findings) == ["note", "ok", "note", "note"]
    assert "output length" in findings[-1].message


def test_a_registry_that_fails_is_a_note(published: Published) -> None:
    findings = list(check_running(published("active", lambda metrics: metrics.registry_failing.set(1))))
    assert "registry" in next(finding.message for finding in findings if finding.state == "note")


def test_a_candidate_is_told_with_what_both_bundles_reach(published: Published) -> None:
    def tried(metrics: Metrics) -> None:
        metrics.candidate("20261130-def", 0.1)
        for bundle, turns, met in (("champion", 8, 6), ("candidate", 2, 1)):
            metrics.turns(bundle, turns)
            metrics.turns_in_slo(bundle, met)

    notes = [finding.message for finding in check_running(published("active", tried)) if finding.state == "note"]
    assert "20261130-def" in notes[0]
    assert "champion: 75.0% of 8" in notes[0]
    assert "candidate: 50.0% of 2" in notes[0]


@pytest.mark.parametrize("url", ["localhost:8000", "http://", "http://127.0.0.1:1"])
def test_an_address_without_a_server_is_one_line(url: str) -> None:
    with pytest.raises(StageError) as caught:
        scrape(url)
    assert "\n" not in str(caught.value)
