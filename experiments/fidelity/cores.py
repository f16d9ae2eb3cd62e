"""Who runs where in a fidelity run: the engine has a core to itself, the API server and the client share the others.

They would otherwise take time from each other, the more the higher the load; no step-time profile can tell how much.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from augserve.pipeline.project.stage import StageError

ENVIRONMENT: Mapping[str, str] = {"OMP_NUM_THREADS": "1"}
"""Of a server whose engine has one core."""
_ENGINE = "EngineCore"  # vLLM titles the process that schedules and computes so
_PROC = Path("/proc")

logger = logging.getLogger(__name__)


def separate(server_pid: int) -> None:
    """Put the engine of a running server on the first core and all else of it on the others.

    Raises StageError where the server has no engine process. On a machine of one core nothing is done.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        logger.warning("fidelity: this machine has one core: engine and client take time from each other")
        return
    processes = _descendants(server_pid)
    engines = [pid for pid in processes if _ENGINE in _title(pid)]
    if not engines:
        raise StageError(f"fidelity: process {server_pid} has no child titled {_ENGINE}; is it vLLM's API server?")
    for pid in processes:
        _bind(pid, {cores[0]} if pid in engines else set(cores[1:]))


@contextmanager
def client_aside() -> Iterator[None]:
    """This process off the engine's core until the block ends."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        _bind(os.getpid(), set(cores[1:]))
    try:
        yield
    finally:
        _bind(os.getpid(), set(cores))


def _descendants(pid: int) -> list[int]:
    """The process and all below it."""
    found = [pid]
    for parent in found:
        for children in (_PROC / str(parent) / "task").glob("*/children"):
            with suppress(OSError):
                found += map(int, children.read_text().split())
    return found


def _title(pid: int) -> str:
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def _bind(pid: int, cores: set[int]) -> None:
    """All threads of the process; those that it starts later inherit it."""
    for thread in (_PROC / str(pid) / "task").iterdir():
        with suppress(ProcessLookupError):  # it has ended since
            os.sched_setaffinity(int(thread.name), cores)
