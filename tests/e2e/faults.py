"""Faults of a running server: its processes, its clock, its disk; and a load beside them."""

import asyncio
import resource
import struct
import sys
import time
from pathlib import Path
from typing import Self

import httpx

from augserve.pipeline.server.process import MODEL_NAME, Server

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""Environment of a server beside other programs: threads that wait for each other would be slow."""
STEPPED_CLOCK = """
import mmap, os, struct, time
with open(os.environ["CLOCK_STEP"], "rb") as file:
    _step = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
_time = time.time
time.time = lambda: _time() + struct.unpack_from("<d", _step)[0]
"""


API_KEY = "of the operator"
KEY_HEADER = {"Authorization": f"Bearer {API_KEY}"}


class SteppedClock:
    """The system's clock as a server's processes see it."""

    def __init__(self, folder: Path) -> None:
        (folder / "sitecustomize.py").write_text(STEPPED_CLOCK)
        self._file = folder / "step"
        self._file.write_bytes(struct.pack("<d", 0.0))
        path = [str(folder), *filter(None, sys.path)]
        self.environment = {"PYTHONPATH": ":".join(path), "CLOCK_STEP": str(self._file)}

    def step(self, seconds: float) -> None:
        """Set the clock to this distance from the real one."""
        with self._file.open("r+b") as file:
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


class Load:
    """Short completions, one after the other by each of some clients, until the block ends."""

    def __init__(self, server: Server, clients: int) -> None:
        self.statuses: list[int] = []  # 0: the connection broke
        self.created: list[int] = []  # times of the answers on the server's clock
        self._server, self._clients = server, clients
        self._until_s = float("inf")

    async def __aenter__(self) -> Self:
        self._client = httpx.AsyncClient(
            base_url=self._server.base_url, headers=KEY_HEADER, trust_env=False, timeout=120
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
