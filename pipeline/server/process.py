"""A real vLLM server as a child process: start, wait until healthy, and end with all its processes.

Importing vLLM dominates the start, so the engine and its only worker share a process (`uni` executor). Compilation is
off: it would take longer than the server lives.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from tqdm import tqdm

from ..project.lifetime import end_with_parent
from ..project.stage import StageError

HOST = "127.0.0.1"
MODEL_NAME = "smollm2"
MAX_MODEL_LEN = 4096
START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 20.0
_PREFIX = re.compile(r"^(\(\w[\w-]* pid=\d+\)\s*)?((ERROR|WARNING|INFO|CRITICAL) [\d:. -]+\[[^\]]*\]\s*)?")
_CAUSE = re.compile(r"^([\w.]*(Error|Exception)|[\w.-]+: error): ?\S")


class ServerError(StageError):
    """The server did not start, or died. The message contains the cause from the log."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. `url` is its root, `base_url` the root of its OpenAI API."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    def check_alive(self) -> None:
        """Raise ServerError, with the log's cause, if the process has ended."""
        if self.process.poll() is not None:
            cause = log_cause(self.log)
            raise ServerError(f"the vLLM server died (exit {self.process.returncode}): {cause}; see {self.log}")


def server_command(model: Path, port: int, extra_args: Sequence[str] = ()) -> list[str]:
    """The command line of vLLM's OpenAI server on the loopback interface, for a small CPU machine."""
    return [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", str(model), "--served-model-name", MODEL_NAME),
        *("--host", HOST, "--port", str(port)),
        *("--dtype", "bfloat16", "--max-model-len", str(MAX_MODEL_LEN), "--max-num-seqs", "64", "--block-size", "32"),
        *("--enforce-eager", "--distributed-executor-backend", "uni", "--disable-uvicorn-access-log"),
        *extra_args,
    ]


def hook_arguments(deployment: Mapping[str, str | float]) -> list[str]:
    """The flags that plug AugServe into vLLM, with `deployment` as `additional_config["augserve"]`."""
    return [
        *("--scheduler-cls", "augserve.runtime.AugServeScheduler"),
        *("--middleware", "augserve.runtime.AugServeMiddleware"),
        *("--additional-config", json.dumps({"augserve": dict(deployment)})),
    ]


def server_environment() -> dict[str, str]:
    """vLLM's CPU settings, overridden by this process's environment."""
    defaults = {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_KVCACHE_SPACE": "2",  # GiB: 93,000 tokens of SmolLM2-135M
        # Needed for the `uni` executor. The API server still runs its engine in a separate process.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        # `auto` reserves a core for the API server: half of a machine with two.
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))),
        "PYTHONWARNINGS": "ignore",
    }
    return defaults | dict(os.environ)


@contextmanager
def vllm_server(
    model: Path,
    *,
    log: Path,
    extra_args: Sequence[str] = (),
    environment: Mapping[str, str] = MappingProxyType({}),
    start_timeout_s: float = START_TIMEOUT_S,
) -> Iterator[Server]:
    """Run a server on a free loopback port until the block ends, then kill its process group. Its output goes to `log`.

    `environment` overrides `server_environment`. Raises ServerError if the server dies or is not healthy in time.
    """
    port = free_port()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            server_command(model, port, extra_args),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=server_environment() | dict(environment),
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
    server = Server(f"http://{HOST}:{port}", process, log)
    try:
        _wait_until_healthy(server, start_timeout_s)
        yield server
    finally:
        _stop(process)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def log_cause(log: Path) -> str:
    """The line of a server's log that most likely names the cause of its end."""
    lines = [_PREFIX.sub("", line).strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    # The API server reports only that its engine failed; the validator names the cause on the next line.
    causes = [
        f"{line} {lines[index + 1]}" if "validation error" in line and index + 1 < len(lines) else line
        for index, line in enumerate(lines)
        if _CAUSE.match(line) and "Engine core initialization failed" not in line
    ]
    non_empty = [line for line in lines if line]
    return (causes or non_empty or ["its log is empty"])[-1][:500]


def _wait_until_healthy(server: Server, timeout_s: float) -> None:
    start_s = time.monotonic()
    with tqdm(desc="starting vLLM (20 to 60 s)", bar_format="{desc}: {elapsed}", leave=False, mininterval=1) as bar:
        while not _healthy(server.url):
            server.check_alive()
            if time.monotonic() - start_s > timeout_s:
                raise ServerError(f"the vLLM server is not healthy after {timeout_s:.0f} s; see {server.log}")
            time.sleep(0.25)
            bar.update()


def _healthy(url: str) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback: no proxy of the environment
    try:
        with direct.open(f"{url}/health", timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Terminate the server, then kill the rest of its process group."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
