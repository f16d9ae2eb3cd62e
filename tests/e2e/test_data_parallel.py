"""Two real engines under vLLM's data parallelism: each session stays on one."""

import asyncio
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from augserve.data.tables.files import read_table
from augserve.data.tables.pseudonyms import Pseudonyms
from augserve.pipeline.server.process import MODEL_NAME, Server, hook_arguments, vllm_server
from augserve.runtime.recording.rows import session_name

from .faults import ONE_THREAD

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SESSIONS, TURNS = 20, 3
PAUSES_S = (0.3, 0.7)
NEAR_S = 0.005
Exchange = tuple[float, float]
"""When a turn was sent and when its answer had come, seconds since 1970."""


async def session(client: httpx.AsyncClient, name: str, start_s: float) -> list[Exchange]:
    """A session of TURNS turns, each with a tool call after it but the last."""
    await asyncio.sleep(start_s)
    exchanges = []
    messages: list[dict[str, Any]] = [{"role": "user", "content": f"You are {name}. Say yes."}]
    for turn in range(TURNS):
        body = {"model": MODEL_NAME, "messages": messages, "max_tokens": 4, "temperature": 0}
        sent_s = time.time()
        answer = await client.post("/v1/chat/completions", json=body, headers={"X-Session-ID": name})
        exchanges.append((sent_s, time.time()))
        answer.raise_for_status()
        call = {"id": f"{name}-{turn}", "type": "function", "function": {"name": "python", "arguments": "{}"}}
        said = answer.json()["choices"][0]["message"]["content"] or ""
        messages.append({"role": "assistant", "content": said, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": "done"})
        await asyncio.sleep(PAUSES_S[turn % len(PAUSES_S)])
    return exchanges


async def crowd(url: str) -> dict[str, list[Exchange]]:
    names = [f"agent-{number}" for number in range(SESSIONS)]
    async with httpx.AsyncClient(base_url=url, timeout=120, trust_env=False) as client:
        done = await asyncio.gather(*(session(client, name, 0.15 * at) for at, name in enumerate(names)))
    return dict(zip(names, done, strict=True))


@pytest.fixture(scope="module")
def served(
    model_folder: Path, bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, list[Exchange]], Path]:
    """What the client saw, and the folder of the traces."""
    folder = tmp_path_factory.mktemp("two")
    deployment = {"bundle": str(bundle_folder), "traces": str(folder / "traces")}
    arguments = [*hook_arguments(deployment), "--data-parallel-size", "2", "--max-num-seqs", "8"]
    with vllm_server(model_folder, log=folder / "server.log", extra_args=arguments, environment=ONE_THREAD) as server:
        exchanges = asyncio.run(crowd(server.url))
        wait_for_turns(folder / "traces", SESSIONS * TURNS)
        check_refusal_of_a_missing_rank(server)
    return exchanges, folder / "traces"


def wait_for_turns(folder: Path, count: int) -> None:
    until_s = time.monotonic() + 20.0
    while time.monotonic() < until_s:
        if any(folder.glob("turns*.parquet")) and read_table(folder, "turns").num_rows >= count:
            return
        time.sleep(0.5)


def check_refusal_of_a_missing_rank(server: Server) -> None:
    body = {"model": MODEL_NAME, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    headers = {"X-data-parallel-rank": "7"}
    with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client:
        answer = client.post("/v1/chat/completions", json=body, headers=headers)
        assert answer.status_code == 400
        assert "data_parallel_rank 7" in json.dumps(answer.json())
        assert client.post("/v1/chat/completions", json=body).status_code == 200


def recorded(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The turns of each session by its name in the traces, by arrival."""
    sessions = defaultdict(list)
    for row in sorted(read_table(folder, "turns").to_pylist(), key=lambda row: row["arrival_s"]):
        sessions[row["session_id"]].append(row)
    return sessions


def test_every_turn_of_a_session_is_on_its_engine(served: tuple[dict[str, list[Exchange]], Path]) -> None:
    exchanges, folder = served
    sessions, names = recorded(folder), Pseudonyms.kept_in(folder)
    engines = []
    for name in exchanges:
        turns = sessions[session_name(name, names)]
        assert [turn["turn"] for turn in turns] == list(range(TURNS))
        (engine,) = {turn["engine"] for turn in turns}
        engines.append(engine)
    assert len(set(engines)) == 2
    assert min(engines.count(engine) for engine in set(engines)) >= SESSIONS // 4


def test_recorded_pauses_are_those_of_the_client(served: tuple[dict[str, list[Exchange]], Path]) -> None:
    exchanges, folder = served
    sessions, names = recorded(folder), Pseudonyms.kept_in(folder)
    apart_s = []
    for name, seen in exchanges.items():
        turns = sessions[session_name(name, names)]
        for turn in range(TURNS - 1):
            pause_s = turns[turn + 1]["arrival_s"] - turns[turn]["finish_s"]
            apart_s.append(pause_s - (seen[turn + 1][0] - seen[turn][1]))
    apart_s.sort(key=abs)
    assert abs(apart_s[len(apart_s) // 2]) < NEAR_S, apart_s
