import numpy as np
import pytest

from augserve.features.feature import Feature
from augserve.models.serving.drift import Histogram
from augserve.runtime.metrics import Metrics
from augserve.runtime.prediction.correction import Correction
from augserve.runtime.prediction.drift import ALARM_PSI, BATCH_ROWS, DriftMonitor
from augserve.runtime.publisher import FOLDER_VARIABLE


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> Metrics:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    return Metrics(3, "test-1", "active")


def test_a_value_is_the_sum_of_the_samples_with_its_labels(metrics: Metrics) -> None:
    metrics.predictions.inc(5)
    for reason in ("order", "order", "budget"):
        metrics.fallback(reason)
    assert metrics.value("predictions") == 5
    assert metrics.value("fallbacks", reason="order") == 2
    assert metrics.value("fallbacks") == 3
    assert metrics.value("fallbacks", reason="step") == 0
    assert metrics.value("info", version="test-1", mode="active") == metrics.value("info", engine="3") == 1


def test_coverage_correction_and_width_have_the_quantity_as_label(metrics: Metrics) -> None:
    correction = Correction("tool duration")
    for _ in range(4):
        correction.observe((9.0, 10.0, 11.0), None, 20.0)
    correction.report_to(metrics.corrected)
    assert metrics.value("coverage", quantity="tool duration") == 0.0
    assert metrics.value("correction", quantity="tool duration") == correction.overall > 1
    assert metrics.value("interval_width", quantity="tool duration") == correction.width > 1


def test_what_decides_is_the_info_that_is_1(metrics: Metrics) -> None:
    metrics.deciding("test-2", "shadow", "max_wait_s=9.0")
    assert metrics.value("info") == 1
    assert metrics.value("info", version="test-2", mode="shadow", settings="max_wait_s=9.0") == 1
    metrics.deciding("test-1", "active", "")
    assert metrics.value("info", version="test-1", mode="active", settings="") == metrics.value("info") == 1


def test_a_suspension_names_its_error_until_the_part_works_again(metrics: Metrics) -> None:
    metrics.suspended("order", "ValueError")
    assert metrics.value("suspended", part="order", reason="ValueError") == 1
    metrics.suspended("order", "KeyError")
    assert metrics.value("suspended", part="order") == metrics.value("suspended", reason="KeyError") == 1
    metrics.suspended("order", None)
    assert metrics.value("suspended") == 0


def test_a_histogram_counts_by_its_label(metrics: Metrics) -> None:
    for seconds in (0.002, 0.004, 9.0):
        metrics.took("order", seconds)
    metrics.took("budget", 0.001)
    assert metrics.value("part_seconds", part="order", le="0.01") == 2
    assert metrics.value("part_seconds", part="order", le="+Inf") == 3


def test_the_coverage_of_training_has_the_same_quantities(metrics: Metrics) -> None:
    metrics.trained_coverage({"output_length": 0.81, "tool_duration": 0.79, "session_remaining": 0.5})
    assert metrics.value("coverage_trained", quantity=Correction("output length").quantity) == 0.81
    assert metrics.value("coverage_trained", quantity=Correction("tool duration").quantity) == 0.79
    assert metrics.value("coverage_trained", quantity="session remaining") == 0.0


def test_every_feature_has_its_psi(metrics: Metrics) -> None:
    features = tuple(Feature(name, "1", "a number") for name in ("same", "moved"))
    shares = np.array([0.0, 0.5, 0.5])
    watched = DriftMonitor("turns", features, [Histogram(np.zeros(1, np.float32), shares)] * 2, metrics.drift)
    rows = np.ones((BATCH_ROWS, 2), np.float32)
    rows[::2, 0] = -1
    watched.add(list(rows))
    watched.add([])
    same, moved = (metrics.value("psi", feature=name) for name in ("same", "moved"))
    assert same < 0.01 < ALARM_PSI < moved
