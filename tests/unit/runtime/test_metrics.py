import threading
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from augserve.features.feature import Feature
from augserve.models.serving.drift import Histogram
from augserve.runtime import metrics as metrics_module
from augserve.runtime.metrics import Metrics
from augserve.runtime.prediction.correction import Correction
from augserve.runtime.prediction.drift import ALARM_PSI, BATCH_ROWS, DriftMonitor

Exported = tuple[Metrics, CollectorRegistry]


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Exported:
    registry = CollectorRegistry()
    monkeypatch.delenv(metrics_module.FOLDER_VARIABLE, raising=False)
    monkeypatch.setattr(metrics_module, "CollectorRegistry", lambda: registry)
    return Metrics(0, "test-1", "active"), registry


def value(exported: Exported, name: str, **labels: str) -> float | None:
    return exported[1].get_sample_value(name, {"engine": "0"} | labels)


def test_coverage_correction_and_width_stand_by_quantity(exported: Exported) -> None:
    correction = Correction("tool duration")
    for _ in range(4):
        correction.observe((9.0, 10.0, 11.0), None, 20.0)
    exported[0].corrected(correction.quantity, correction.overall, correction.coverage, correction.width)
    assert value(exported, "augserve_coverage", quantity="tool duration") == 0.0
    assert value(exported, "augserve_correction", quantity="tool duration") == correction.overall > 1
    assert value(exported, "augserve_interval_width", quantity="tool duration") == correction.width > 1


def test_the_coverage_of_training_stands_under_the_same_quantity(exported: Exported) -> None:
    exported[0].trained_coverage({"output_length": 0.81, "tool_duration": 0.79, "session_remaining": 0.5})
    assert value(exported, "augserve_coverage_trained", quantity=Correction("output length").quantity) == 0.81
    assert value(exported, "augserve_coverage_trained", quantity=Correction("tool duration").quantity) == 0.79
    assert value(exported, "augserve_coverage_trained", quantity="session remaining") is None


def test_every_feature_has_its_psi(exported: Exported) -> None:
    features = tuple(Feature(name, "1", "a number") for name in ("same", "moved"))
    shares = np.array([0.0, 0.5, 0.5])
    watched = DriftMonitor("turns", features, [Histogram(np.zeros(1, np.float32), shares)] * 2, exported[0].drift)
    assert value(exported, "augserve_psi", feature="same") is None
    rows = np.ones((BATCH_ROWS, 2), np.float32)
    rows[::2, 0] = -1
    watched.add(list(rows))
    watched.add([])
    same, moved = (value(exported, "augserve_psi", feature=name) for name in ("same", "moved"))
    assert same is not None
    assert moved is not None
    assert same < 0.01 < ALARM_PSI < moved


def test_metrics_that_could_not_be_published_are_tried_again_and_said_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[Path] = []
    written = threading.Event()

    def full_at_first(path: Path, _: str) -> None:
        tries.append(path)
        if len(tries) < 4:
            raise OSError("no space left on device")
        written.set()

    monkeypatch.setattr(metrics_module, "write_text", full_at_first)
    monkeypatch.setattr(metrics_module, "PUBLISH_S", 0.001)
    monkeypatch.setenv(metrics_module.FOLDER_VARIABLE, str(tmp_path))
    exporting = Metrics(0, "test-1", "active")
    assert written.wait(10.0)
    exporting.close()
    assert len([each for each in caplog.records if "cannot publish" in each.message]) == 1
