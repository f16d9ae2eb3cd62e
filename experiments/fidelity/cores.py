"""Assigns cores in a fidelity run: one core for the engine, the others for the API server and the client.

Otherwise they would slow each other down, more at a higher load, which no step-time profile can model.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from augserve.pipeline.project.stage import StageError

ENVIRONMENT: Mapping[str, str] = {"OMP_NUM_THREADS": "1"}
"""Environment of a server whose engine has one core."""
_ENGINE = "EngineCore"  # title of the process that schedules and computes
_PROC = Path("/proc")

logger = logging.getLogger(__name__)


def separate(server_pid: int) -> None:
    """Bind the engine of a running server to the first core, and its other processes to the other cores.

    Raises StageError if the server has no engine process. With a single core, nothing changes.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        logger.warning("fidelity: this machine has one core, which engine and client share")
        return
    engine = engine_of(server_pid)
    for pid in _descendants(server_pid):
        _bind(pid, {cores[0]} if pid == engine else set(cores[1:]))


def engine_of(server_pid: int) -> int:
    """The process id of a running server's engine. Raises StageError without one."""
    for pid in _descendants(server_pid):
        if _ENGINE in _title(pid):
            return pid
    raise StageError(f"fidelity: process {server_pid} has no child titled {_ENGINE}; is it vLLM's API server?")


@contextmanager
def client_aside() -> Iterator[None]:
    """Keep this process off the core of the engine until the block ends."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        _bind(os.getpid(), set(cores[1:]))
    try:
        yield
    finally:
        _bind(os.getpid(), set(cores))


def _descendants(pid: int) -> list[int]:
    """The process and its descendants."""
    pids = [pid]
    for parent in pids:
        for children in (_PROC / str(parent) / "task").glob("*/children"):
            with suppress(OSError):
                pids += map(int, children.read_text().split())
    return pids


def _title(pid: int) -> str:
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def _bind(pid: int, cores: set[int]) -> None:
    """Bind all threads of the process; later threads inherit the binding."""
    for thread in (_PROC / str(pid) / "task").iterdir():
        with suppress(ProcessLookupError):  # the thread has ended
            os.sched_setaffinity(int(thread.name), cores)
