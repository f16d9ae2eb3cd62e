import subprocess
import sys
from pathlib import Path

import pytest

from augserve.pipeline.server import process as server
from augserve.pipeline.server.process import ServerError, log_cause, vllm_server


def test_a_server_that_dies_gives_one_line_with_the_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "raise ValueError('no such bundle')"
    monkeypatch.setattr(server, "server_command", lambda *_: [sys.executable, "-I", "-S", "-c", script])
    with (
        pytest.raises(ServerError, match="ValueError: no such bundle") as caught,
        vllm_server(tmp_path, log=tmp_path / "log"),
    ):
        pass
    assert "\n" not in str(caught.value)


def test_an_unhealthy_server_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    monkeypatch.setattr(server, "server_command", lambda *_: ["sleep", "60"])
    stop = server._stop
    monkeypatch.setattr(server, "_stop", lambda process: (started.append(process), stop(process)))
    with (
        pytest.raises(ServerError, match="not healthy after 0 s"),
        vllm_server(tmp_path, log=tmp_path / "log", start_timeout_s=0.3),
    ):
        pass
    assert started[0].returncode is not None


ENGINE_DIED = """\
(EngineCore pid=7) ERROR 11-23 18:00:00 [core.py:1] augserve.runtime.deployment.DeploymentError: bad mode
(APIServer pid=6) RuntimeError: Engine core initialization failed. See root cause above.
"""
BAD_FLAG = "api_server.py: error: unrecognized arguments: --no"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (ENGINE_DIED, "augserve.runtime.deployment.DeploymentError: bad mode"),
        (BAD_FLAG, BAD_FLAG),
        ("starting\nKilled\n", "Killed"),
        ("", "its log is empty"),
    ],
)
def test_the_log_s_line_with_the_cause_is_found(tmp_path: Path, text: str, cause: str) -> None:
    (tmp_path / "log").write_text(text)
    assert log_cause(tmp_path / "log") == cause
