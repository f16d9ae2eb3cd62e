"""The router in a real Ray Serve, with replicas that tell a backlog. Skipped where Ray Serve is not installed."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

serve = pytest.importorskip("ray.serve")
ray = pytest.importorskip("ray")

from ray.serve.config import RequestRouterConfig  # noqa: E402
from starlette.requests import Request  # noqa: E402

from augserve.pipeline.server.process import free_port  # noqa: E402
from augserve.runtime.routing.ray_serve import BACKLOG, backlogs  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
ROUTER = "augserve.runtime.routing.ray_serve.SessionRouter"


@serve.deployment(
    num_replicas=2,
    ray_actor_options={"num_cpus": 0},
    request_router_config=RequestRouterConfig(request_router_class=ROUTER, request_routing_stats_period_s=0.2),
)
class Engine:
    """Answers with its process, and tells the backlog that it was last given."""

    def __init__(self) -> None:
        self._backlog_s = 0.0

    async def __call__(self, request: Request) -> str:
        if "backlog" in request.query_params:
            self._backlog_s = float(request.query_params["backlog"])
        return str(os.getpid())

    async def record_routing_stats(self) -> dict[str, float]:
        return {BACKLOG: self._backlog_s}


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


def ask(client: httpx.Client, session: str | None, **query: float) -> str:
    """The process that answered."""
    headers = {} if session is None else {"x-session-id": session}
    answer = client.get("/", headers=headers, params=query)
    answer.raise_for_status()
    return answer.text


def test_a_session_stays_and_a_new_one_begins_where_the_least_work_waits(client: httpx.Client) -> None:
    homes = {f"agent-{number}": ask(client, f"agent-{number}") for number in range(12)}
    assert len(set(homes.values())) == 2
    busy = homes["agent-0"]
    assert ask(client, "agent-0", backlog=30.0) == busy
    wait_until(lambda: ask(client, None) != busy)  # the router has heard of it
    assert {ask(client, f"new-{number}") for number in range(8)} == set(homes.values()) - {busy}
    with ThreadPoolExecutor(8) as clients:
        again = dict(zip(homes, clients.map(lambda name: ask(client, name), homes), strict=True))
    assert again == homes


def wait_until(met: Callable[[], bool]) -> None:
    until_s = time.monotonic() + 30.0
    while not met():
        assert time.monotonic() < until_s
        time.sleep(0.2)


def test_replicas_of_which_one_tells_no_backlog_are_not_compared() -> None:
    assert backlogs({1: {BACKLOG: 3.0}, 2: {BACKLOG: 1}}) == {1: 3.0, 2: 1.0}
    for unknown in ({}, {BACKLOG: float("nan")}, {BACKLOG: "much"}):
        assert backlogs({1: {BACKLOG: 3.0}, 2: unknown}) == {1: 0.0, 2: 0.0}
