"""The router in a real Ray Serve, with replicas that tell a backlog. Skipped where Ray Serve is not installed."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

serve = pytest.importorskip("ray.serve")
ray = pytest.importorskip("ray")

from ray.serve.config import RequestRouterConfig  # noqa: E402
from starlette.requests import Request  # noqa: E402

from augserve.pipeline.server.process import free_port  # noqa: E402
from augserve.runtime.plugin import register  # noqa: E402
from augserve.runtime.publisher import FOLDER_VARIABLE, shared_folder  # noqa: E402
from augserve.runtime.routing import load_notice  # noqa: E402
from augserve.runtime.routing.load_notice import LoadWriter  # noqa: E402
from augserve.runtime.routing.ray_serve import BACKLOG, backlogs, told_backlog  # noqa: E402

from ....ray_router import ROUTER, wait_until  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@serve.deployment(
    num_replicas=2,
    ray_actor_options={"num_cpus": 0},
    request_router_config=RequestRouterConfig(request_router_class=ROUTER, request_routing_stats_period_s=0.2),
)
class Engine:
    """A replica as one of vLLM with AugServe: the plug-in makes its folder, and an engine tells its backlog there.

    Answers with its process and with what it tells. The engine tells the backlog that it is given.
    """

    def __init__(self) -> None:
        register()
        folder = shared_folder()
        assert folder is not None
        self._engine = LoadWriter(folder, 0)

    async def __call__(self, request: Request) -> dict[str, object]:
        if "backlog" in request.query_params:
            self._engine.tell(float(request.query_params["backlog"]), 1.0)
        return {"process": os.getpid(), "told": await self.record_routing_stats()}

    async def record_routing_stats(self) -> dict[str, float]:
        return told_backlog()


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    port = free_port()
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(Engine.bind(), name="engines", route_prefix="/")
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
        yield client
    serve.shutdown()
    ray.shutdown()


def ask(client: httpx.Client, session: str | None, **query: float) -> int:
    """The process that answered."""
    return int(answer(client, session, **query)["process"])


def answer(client: httpx.Client, session: str | None, **query: float) -> dict[str, Any]:
    headers = {} if session is None else {"x-session-id": session}
    response = client.get("/", headers=headers, params=query)
    response.raise_for_status()
    return dict(response.json())


def test_a_session_stays_and_a_new_one_begins_where_the_least_work_waits(client: httpx.Client) -> None:
    assert answer(client, "agent-0")["told"] == {}  # so a hash chooses
    homes = {f"agent-{number}": ask(client, f"agent-{number}") for number in range(12)}
    assert len(set(homes.values())) == 2
    for home in set(homes.values()):
        name = next(name for name in homes if homes[name] == home)
        assert answer(client, name, backlog=0.0)["told"] == {BACKLOG: 0.0}
    busy = homes["agent-0"]
    given = answer(client, "agent-0", backlog=60.0)
    assert given["process"] == busy
    assert 50.0 < given["told"][BACKLOG] <= 60.0
    wait_until(lambda: all(ask(client, None) != busy for _ in range(10)))  # the router has heard of it
    assert {ask(client, f"new-{number}") for number in range(8)} == set(homes.values()) - {busy}
    with ThreadPoolExecutor(8) as clients:
        again = dict(zip(homes, clients.map(lambda name: ask(client, name), homes), strict=True))
    assert again == homes


def test_replicas_of_which_one_tells_no_backlog_are_not_compared() -> None:
    assert backlogs({1: {BACKLOG: 3.0}, 2: {BACKLOG: 1}}) == {1: 3.0, 2: 1.0}
    for unknown in ({}, {BACKLOG: float("nan")}, {BACKLOG: "much"}):
        assert backlogs({1: {BACKLOG: 3.0}, 2: unknown}) == {1: 0.0, 2: 0.0}


def test_a_replica_tells_the_work_of_all_its_engines_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_notice, "_lives", lambda _: True)
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    assert told_backlog() == {}
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    for rank in range(2):
        assert told_backlog(range(2)) == {}  # else a replica with a silent engine would look idle
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda rank=rank: 1000 + rank)
            LoadWriter(tmp_path, rank).tell(20.0, 1.0)
    assert 35.0 < told_backlog(range(2))[BACKLOG] <= 40.0
    assert 15.0 < told_backlog()[BACKLOG] <= 20.0
