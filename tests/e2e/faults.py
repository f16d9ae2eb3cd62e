"""Faults of a running server: its processes, its clock, its disk, its memory; and a load beside them."""

import asyncio
import resource
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import httpx

from augserve.pipeline.server.process import MODEL_NAME, Server

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""Environment of a server beside other programs: threads that wait for each other would be slow."""
STEERED_HOST = """
import mmap, os, struct, time
with open(os.environ["STEERED_HOST"], "rb") as file:
    _steered = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
_time, _replace = time.time, os.replace
def replace(*args, **kwargs):
    time.sleep(struct.unpack_from("<dd", _steered)[1])
    return _replace(*args, **kwargs)
time.time = lambda: _time() + struct.unpack_from("<dd", _steered)[0]
os.replace = replace
"""
LEFT_KIB = 1 << 20
HOG = """
import sys
with open("/proc/self/oom_score_adj", "w") as file:
    file.write("1000")
def available_kib():
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("MemAvailable"))
taken = []
while (left_kib := available_kib() - int(sys.argv[1])) > 0:
    taken.append(b"1" * (1024 * min(left_kib, 256 << 10)))
print("full", flush=True)
sys.stdin.read()
"""


API_KEY = "of the operator"
KEY_HEADER = {"Authorization": f"Bearer {API_KEY}"}


class SteeredHost:
    """The system's clock and disk as a server's processes see them."""

    def __init__(self, folder: Path) -> None:
        (folder / "sitecustomize.py").write_text(STEERED_HOST)
        self._file = folder / "steered"
        self._file.write_bytes(bytes(16))
        path = [str(folder), *filter(None, sys.path)]
        self.environment = {"PYTHONPATH": ":".join(path), "STEERED_HOST": str(self._file)}

    def step_clock(self, seconds: float) -> None:
        """Set the clock to this distance from the real one."""
        self._steer(0, seconds)

    def slow_disk(self, seconds: float) -> None:
        """Let each file take that long until it replaces another."""
        self._steer(8, seconds)

    def _steer(self, offset: int, seconds: float) -> None:
        with self._file.open("r+b") as file:
            file.seek(offset)
            file.write(struct.pack("<d", seconds))


def engine_of(server: Server) -> int:
    """Process id of the server's engine."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = status.read_text().rpartition(")")
        except OSError:
            continue
        if int(rest.split()[1]) == server.process.pid and "EngineCore" in (status.parent / "cmdline").read_text():
            return int(name.split(" ", 1)[0])
    raise AssertionError("the server has no engine")


def limit_files(process: int, size_bytes: int | None) -> None:
    """Let no file of a process grow beyond this size, as on a full disk. None: no limit."""
    limit = resource.RLIM_INFINITY if size_bytes is None else size_bytes
    resource.prlimit(process, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


@contextmanager
def memory_pressure() -> Iterator[None]:
    """Another process takes nearly all of the machine's memory until the block ends. It is the first to be killed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOG, str(LEFT_KIB)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as hog:
        assert hog.stdout is not None
        hog.stdout.readline()
        try:
            yield
        finally:
            hog.kill()


NO_REUSE = httpx.Limits(max_keepalive_connections=0)
"""A slow server may close an idle connection just when a client sends its next request on it: that loses no request."""


class Load:
    """Short completions, one after the other by each of some clients, until the block ends."""

    def __init__(self, server: Server, clients: int) -> None:
        self.statuses: list[int] = []  # 0: the connection broke
        self.created: list[int] = []  # times of the answers on the server's clock
        self._server, self._clients = server, clients
        self._until_s = float("inf")

    async def __aenter__(self) -> Self:
        self._client = httpx.AsyncClient(
            base_url=self._server.base_url, headers=KEY_HEADER, trust_env=False, timeout=120, limits=NO_REUSE
        )
        self._tasks = [asyncio.create_task(self._ask(number)) for number in range(self._clients)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._until_s = time.monotonic()
        await asyncio.gather(*self._tasks)
        await self._client.aclose()

    async def _ask(self, number: int) -> None:
        asked = 0
        while time.monotonic() < self._until_s:
            body = {"model": MODEL_NAME, "prompt": f"{number} {asked}", "max_tokens": 4, "ignore_eos": True}
            headers = {"X-Session-ID": f"load {number} {asked // 5}"}
            asked += 1
            try:
                answer = await self._client.post("completions", json=body, headers=headers)
            except httpx.HTTPError:
                self.statuses.append(0)
                return
            self.statuses.append(answer.status_code)
            self.created.append(answer.json().get("created", 0))


def kill_api_server(server: Server, clients: int, after_s: float) -> float:
    """Kill it when the load of some clients has lasted `after_s`. Returns when."""
    killed_s = 0.0

    async def kill() -> None:
        nonlocal killed_s
        async with Load(server, clients):
            await asyncio.sleep(after_s)
            server.process.send_signal(signal.SIGKILL)
            killed_s = time.time()

    asyncio.run(kill())
    return killed_s
