import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from augserve.runtime.metrics import Metrics
from augserve.runtime.plugin import FolderCollector
from augserve.runtime.publisher import FOLDER_VARIABLE


def values(folder: Path) -> dict[tuple[str, str], float]:
    collected = FolderCollector(folder).collect()
    return {
        (s.name, s.labels.get("reason", s.labels["engine"])): s.value for family in collected for s in family.samples
    }


def test_an_engines_metrics_are_collected_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    metrics = Metrics(3, "v7", "active")
    metrics.predictions.inc(5)
    metrics.fallback("order")
    (tmp_path / "9.prom").write_text("not { a metric")
    for _ in range(50):
        found = values(tmp_path)
        if found.get(("augserve_predictions_total", "3")):
            break
        time.sleep(0.1)
    assert found["augserve_predictions_total", "3"] == 5
    assert found["augserve_fallbacks_total", "order"] == 1
    assert found["augserve_info", "3"] == 1
    metrics.close()
    assert {path.name for path in tmp_path.iterdir()} == {"9.prom"}


def test_the_samples_of_two_engines_are_merged(tmp_path: Path) -> None:
    for engine in "01":
        line = f'augserve_sessions{{engine="{engine}"}} {engine}.0\n'
        (tmp_path / f"{engine}.prom").write_text(f"# TYPE augserve_sessions gauge\n{line}")
    assert len(list(FolderCollector(tmp_path).collect())) == 1
    assert values(tmp_path) == {("augserve_sessions", "0"): 0.0, ("augserve_sessions", "1"): 1.0}


def test_without_the_plugin_the_counters_still_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    metrics = Metrics(0, "v", "shadow")
    metrics.recorder_dropped.inc(2)
    metrics.close()


def test_the_process_that_registers_makes_and_removes_the_folder() -> None:
    code = (
        "import os; from augserve.runtime.plugin import register; register();"
        "first = os.environ['AUGSERVE_METRICS_FOLDER']; register();"
        "assert os.environ['AUGSERVE_METRICS_FOLDER'] == first; assert os.path.isdir(first); print(first)"
    )
    # Another test may have made this process load vLLM's plugins.
    environment = {name: value for name, value in os.environ.items() if name != FOLDER_VARIABLE}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert not Path(result.stdout.strip()).exists()
