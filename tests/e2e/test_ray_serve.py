"""Ray Serve routes between two real vLLM engines by what AugServe tells. Skipped where Ray Serve is not installed."""

import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

serve = pytest.importorskip("ray.serve")
ray = pytest.importorskip("ray")

from ray.serve.config import RequestRouterConfig  # noqa: E402
from starlette.requests import Request  # noqa: E402
from vllm import SamplingParams  # noqa: E402
from vllm.engine.arg_utils import AsyncEngineArgs  # noqa: E402
from vllm.v1.engine.async_llm import AsyncLLM  # noqa: E402

from augserve.pipeline.server.process import MAX_MODEL_LEN, free_port, server_environment  # noqa: E402
from augserve.runtime.routing.ray_serve import BACKLOG, told_backlog  # noqa: E402

from ..ray_router import ROUTER, wait_until  # noqa: E402
from .faults import ONE_THREAD  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SEATS = 2
SESSIONS = 8
LONG = 200  # tokens of an answer


class Replica:
    """A replica with an engine of its own."""

    def __init__(self, model: str, bundle: str) -> None:
        os.environ.update(server_environment() | ONE_THREAD)
        self._engine = AsyncLLM.from_engine_args(
            AsyncEngineArgs(
                model=model,
                dtype="bfloat16",
                max_model_len=MAX_MODEL_LEN,
                max_num_seqs=SEATS,
                block_size=32,
                enforce_eager=True,
                distributed_executor_backend="uni",
                scheduler_cls="augserve.runtime.AugServeScheduler",
                additional_config={"augserve": {"bundle": bundle}},
            )
        )

    async def __call__(self, request: Request) -> dict[str, object]:
        """Answer with as many tokens as the query asks for."""
        tokens = int(request.query_params["tokens"])
        parameters = SamplingParams(max_tokens=tokens, ignore_eos=True, temperature=0.0)
        async for output in self._engine.generate("Once upon a time", parameters, uuid.uuid4().hex):
            answered = len(output.outputs[0].token_ids)
        return {"process": os.getpid(), "tokens": answered, "told": told_backlog()}

    async def record_routing_stats(self) -> dict[str, float]:
        return told_backlog()


@pytest.fixture
def client(model_folder: Path, bundle_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    monkeypatch.setenv("RAY_worker_niceness", "0")  # beside other work, engines of a low priority would not start
    deployment = serve.deployment(
        num_replicas=2,
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=100,
        request_router_config=RequestRouterConfig(request_router_class=ROUTER, request_routing_stats_period_s=0.2),
    )(Replica)
    port = free_port()
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(deployment.bind(str(model_folder), str(bundle_folder)), name="engines", route_prefix="/")
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300, trust_env=False) as client:
        yield client
    serve.shutdown()
    ray.shutdown()


def answer(client: httpx.Client, session: str | None, tokens: int) -> dict[str, object]:
    headers = {} if session is None else {"x-session-id": session}
    response = client.get("/", headers=headers, params={"tokens": tokens})
    response.raise_for_status()
    found: dict[str, object] = response.json()
    assert found["tokens"] == tokens
    return found


def test_sessions_stay_and_new_ones_avoid_the_engine_with_a_backlog(client: httpx.Client) -> None:
    def home(session: str | None) -> object:
        return answer(client, session, 2)["process"]

    homes = {f"agent-{number}": home(f"agent-{number}") for number in range(SESSIONS)}
    busy = homes["agent-0"]
    for process in set(homes.values()):
        session = next(name for name in homes if homes[name] == process)
        assert set(answer(client, session, 2)["told"]) == {BACKLOG}  # type: ignore[call-overload]
    with ThreadPoolExecutor(4 * SEATS) as callers:
        long = [callers.submit(answer, client, "agent-0", LONG) for _ in range(4 * SEATS)]
        wait_until(lambda: all(home(None) != busy for _ in range(5)))
        assert busy not in {home(f"new-{number}") for number in range(6)}
        elsewhere = [name for name in homes if homes[name] != busy]
        assert [home(name) for name in elsewhere] == [homes[name] for name in elsewhere]
        assert {each.result()["process"] for each in long} == {busy}
    assert {name: home(name) for name in homes} == homes
