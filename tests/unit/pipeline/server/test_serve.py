import subprocess
import sys
from pathlib import Path

import pytest

from augserve.pipeline.project.stage import StageError
from augserve.pipeline.server.serve import serve_command


def test_a_missing_model_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="model"):
        serve_command(tmp_path / "model", tmp_path / "bundle", 8000)


def test_a_missing_bundle_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    with pytest.raises(StageError, match="bundle"):
        serve_command(tmp_path, tmp_path / "bundle", 8000)


def test_the_command_has_the_hook_and_the_bundle(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    (tmp_path / "manifest.json").touch()
    command = serve_command(tmp_path, tmp_path, 8123)
    assert "augserve.runtime.AugServeScheduler" in command
    assert str(tmp_path) in command[command.index("--additional-config") + 1]
    assert "8123" in command


def test_the_command_without_a_model_prints_one_line_and_fails(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "augserve.pipeline.server.serve"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr == "error: models/smollm2: no model there; run `make repro` first\n"
