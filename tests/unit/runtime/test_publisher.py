import threading
from pathlib import Path

import pytest

from augserve.runtime import publisher as publisher_module
from augserve.runtime.metrics import Metrics


def test_a_failing_publication_is_retried_and_logged_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, vllm_log: pytest.LogCaptureFixture
) -> None:
    tries: list[Path] = []
    written = threading.Event()

    def full_at_first(path: Path, _: str) -> None:
        tries.append(path)
        if len(tries) < 4:
            raise OSError("no space left on device")
        written.set()

    monkeypatch.setattr(publisher_module, "write_text", full_at_first)
    monkeypatch.setattr(publisher_module, "PUBLISH_S", 0.001)
    monkeypatch.setenv(publisher_module.FOLDER_VARIABLE, str(tmp_path))
    exporting = Metrics(0, "test-1", "active")
    assert written.wait(10.0)
    exporting.close()
    assert len([each for each in vllm_log.records if "cannot publish" in each.message]) == 1
