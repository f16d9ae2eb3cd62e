"""Many sessions on a real server for a long time: `make soak MINUTES=60`. At its end the API server is killed."""

import asyncio
import itertools
import json
import os
import random
import shutil
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from augserve.data.tables.files import read_table
from augserve.pipeline.server.process import MODEL_NAME, Server, hook_arguments, vllm_server

from .bundles import another_bundle, put
from .conftest import ROOT
from .faults import ONE_THREAD, engine_of, kill_api_server
from .stops import WHOLE_STEP, timed_server
from .test_server import metrics

MINUTES = float(os.environ.get("SOAK_MINUTES", "0"))
SESSIONS = 10_000
NEW = 0.8
"""Share of the visits that begin a session, as long as there are new ones."""
CLIENTS = 48
LOST_S = 2.5
MOST_LONG = 1e-4
"""Share of the calls that may take longer than 20 ms: a virtual machine counts what its host takes as its own."""
START_TIMEOUT_S = 1_800.0
"""On a machine that does other work, too."""
DEADLINES = ("linking", "prediction")
"""Fallbacks that other programs of the machine may cause."""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(0),
    pytest.mark.skipif(not MINUTES, reason="`make soak MINUTES=10` runs it"),
]


class Agents:
    """Clients that send turns of all SESSIONS sessions, some with a growing context; some of them hang up."""

    def __init__(self, server: Server) -> None:
        self.statuses: Counter[int] = Counter()
        self.sessions: set[int] = set()
        self.hung_up = 0
        self._server = server
        self._random = random.Random(5)
        self._contexts: dict[int, list[int]] = {}
        self._new = itertools.cycle(range(SESSIONS))

    async def run(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        async with httpx.AsyncClient(base_url=self._server.base_url, trust_env=False, timeout=600) as client:
            await asyncio.gather(*(self._agent(client, end_s) for _ in range(CLIENTS)))

    async def _agent(self, client: httpx.AsyncClient, end_s: float) -> None:
        while time.monotonic() < end_s:
            is_new = not self._contexts or self._random.random() < NEW
            session = next(self._new) if is_new else self._random.choice(list(self._contexts))
            self.sessions.add(session)
            for _ in range(self._random.randint(1, 3)):
                await self._turn(client, session)
                await asyncio.sleep(self._random.expovariate(20.0))

    async def _turn(self, client: httpx.AsyncClient, session: int) -> None:
        draw = self._random
        context = self._contexts.pop(session, [])[:1_500]
        context += draw.choices(range(1_000, 20_000), k=draw.randint(1, draw.choice((20, 200))))
        body = {"model": MODEL_NAME, "prompt": context, "max_tokens": draw.randint(1, 12), "ignore_eos": True}
        if draw.random() < 0.3:
            body["vllm_xargs"] = {"augserve_last_tool": [f"tool {draw.randrange(40)}"], "augserve_tenant": "t"}
        named = {"X-Session-ID": f"s{session}"} if session % 4 else {}
        patience_s = 0.05 if draw.random() < 0.02 else None
        try:
            async with asyncio.timeout(patience_s):
                answer = await client.post("completions", json=body, headers=named)
        except TimeoutError:
            self.hung_up += 1
            return
        self.statuses[answer.status_code] += 1
        self._contexts[session] = context
        if len(self._contexts) > SESSIONS // 10:
            del self._contexts[next(iter(self._contexts))]


def test_a_server_serves_many_sessions_for_long_and_survives_no_kill_without_its_traces(
    model_folder: Path, bundle_folder: Path, tmp_path: Path
) -> None:
    packaged, served = ROOT / "models" / "bundle", tmp_path / "bundle"
    models = Path(shutil.copytree(packaged if packaged.is_dir() else bundle_folder, tmp_path / "models"))
    shutil.copytree(models, served)
    arguments, environment = timed_server(tmp_path / "stops.json")
    arguments = [*hook_arguments({"bundle": str(served), "traces": str(tmp_path / "traces")}), *arguments]
    environment |= ONE_THREAD
    log = tmp_path / "server.log"
    with vllm_server(
        model_folder, log=log, extra_args=arguments, environment=environment, start_timeout_s=START_TIMEOUT_S
    ) as server:
        engine = engine_of(server)
        agents, start_kib = Agents(server), 0
        for part in range(10):
            put(another_bundle(models, tmp_path / f"bundle {part}", part), served)
            asyncio.run(agents.run(6.0 * MINUTES))
            found = metrics(server)
            start_kib = start_kib or _memory_kib(engine)
            print(  # noqa: T201 — the report of `make soak`
                f"{(part + 1) * MINUTES / 10:.1f} min: {dict(agents.statuses)}, {len(agents.sessions)} sessions, "
                f"{agents.hung_up} hung up, engine {_memory_kib(engine) - start_kib:+d} KiB, "
                f"{found['augserve_sessions']:.0f} known, {found['augserve_pinned_tokens']:.0f} pinned tokens, "
                f"preemptions {found['vllm:num_preemptions_total']:.0f}"
            )
        _wait_until_idle(server)
        found = metrics(server)
        assert set(agents.statuses) == {200}
        late = {reason: fallbacks(server, reason) for reason in DEADLINES}
        print(f"fallbacks by deadlines: {late}")  # noqa: T201
        assert found.get("augserve_fallbacks_total", 0.0) == sum(late.values())
        assert found.get("augserve_suspended", 0.0) == 0.0
        assert found["augserve_recorder_dropped_total"] == 0.0
        print(f"{found['augserve_bundle_changes_total']:.0f} changes of the bundle")  # noqa: T201
        time.sleep(2 * LOST_S)
        turns = read_table(tmp_path / "traces", "turns")
        assert turns.num_rows >= agents.statuses[200]
        steps = read_table(tmp_path / "traces", "steps")
        print(f"longest call of schedule() {max(steps['schedule_s'].to_pylist()):.4f} s in {steps.num_rows} steps")  # noqa: T201
        killed_s = kill_api_server(server, CLIENTS // 2, 2 * LOST_S)
        time.sleep(2 * LOST_S)  # the engine notices it by itself, or goes on
        rows = read_table(tmp_path / "traces", "turns").to_pylist()
        lost_s = killed_s - max(row["finish_s"] for row in rows)
        print(f"lost by kill -9: the last {lost_s:.1f} s")  # noqa: T201
        assert lost_s < LOST_S
    parts = json.loads((tmp_path / "stops.json").read_text())
    print("longest stops of the engine's loop, of processor time and with other programs, in ms:")  # noqa: T201
    for name, part in sorted(parts.items()):
        longest = f"{1e3 * part['processor_s']:.1f}, {1e3 * part['wall_s']:.1f}"
        print(f"  {name}: {longest}; {part['long']:.0f} of {part['calls']:.0f} longer than 20")  # noqa: T201
    calls = [part for name, part in parts.items() if name != WHOLE_STEP]
    assert all(part["long"] <= MOST_LONG * part["calls"] + 1 for part in calls)


def fallbacks(server: Server, reason: str) -> float:
    lines = httpx.get(f"{server.url}/metrics", trust_env=False).text.splitlines()
    named = (line for line in lines if line.startswith(f'augserve_fallbacks_total{{engine="0",reason="{reason}"'))
    return sum(float(line.rsplit(" ", 1)[1]) for line in named)


def _wait_until_idle(server: Server) -> None:
    end_s = time.monotonic() + 120.0
    while time.monotonic() < end_s:
        found = metrics(server)
        if found["vllm:num_requests_running"] == found["vllm:num_requests_waiting"] == 0:
            return
        time.sleep(0.5)
    raise AssertionError("requests are left")


def _memory_kib(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])
