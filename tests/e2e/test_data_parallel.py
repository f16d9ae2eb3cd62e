"""Two real engines under vLLM's data parallelism: each session stays on one, and its pauses are recorded as they were.

A load that fills the processors would measure how long their processes wait for each other, so the sessions come one
after the other, with a client that costs little.
"""

import http.client
import json
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from augserve.data.tables.files import read_table
from augserve.data.tables.pseudonyms import Pseudonyms
from augserve.pipeline.server.process import MODEL_NAME, Server, hook_arguments, vllm_server
from augserve.runtime.recording.rows import session_name

from .faults import ONE_THREAD

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SESSIONS, TURNS = 20, 3
APART_S = 1.5
PAUSES_S = (0.3, 0.7)
NEAR_S = 0.005
Exchange = tuple[float, float]
"""When a turn was sent and when its answer had come, seconds since 1970."""


class Served(NamedTuple):
    exchanges: dict[str, list[Exchange]]  # by session
    traces: Path
    frontend_s: float  # median time of a request that no engine serves, meanwhile: HTTP, chat template and tokenizer


class Client:
    """One connection, with as little work as possible between the clock and the socket."""

    def __init__(self, server: Server) -> None:
        self._connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=120)

    def exchange(self, method: str, path: str, body: object = None, **headers: str) -> tuple[Exchange, Any]:
        content = None if body is None else json.dumps(body).encode()
        sent_s = time.time()
        self._connection.request(method, path, content, {"Content-Type": "application/json", **headers})
        answer = self._connection.getresponse()
        said = answer.read()
        came_s = time.time()
        assert answer.status == 200, said
        return (sent_s, came_s), json.loads(said)


def session(server: Server, name: str, start_s: float) -> list[Exchange]:
    """A session of TURNS turns, each with a tool call after it but the last."""
    time.sleep(start_s)
    client = Client(server)
    exchanges = []
    messages: list[dict[str, Any]] = [{"role": "user", "content": f"You are {name}. Say yes."}]
    for turn in range(TURNS):
        body = {"model": MODEL_NAME, "messages": messages, "max_tokens": 4, "temperature": 0}
        exchange, answer = client.exchange("POST", "/v1/chat/completions", body, **{"X-Session-ID": name})
        exchanges.append(exchange)
        call = {"id": f"{name}-{turn}", "type": "function", "function": {"name": "python", "arguments": "{}"}}
        said = answer["choices"][0]["message"]["content"] or ""
        messages.append({"role": "assistant", "content": said, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": "done"})
        time.sleep(PAUSES_S[turn % len(PAUSES_S)])
    return exchanges


@contextmanager
def timed_frontend(server: Server) -> Iterator[list[float]]:
    """The times of requests that no engine serves, one each 0.2 s until the block ends."""
    times_s: list[float] = []
    over = threading.Event()

    def ask() -> None:
        client = Client(server)
        while not over.wait(0.2):
            body = {"model": MODEL_NAME, "messages": [{"role": "user", "content": "You are nobody. Say yes."}]}
            (sent_s, came_s), _ = client.exchange("POST", "/tokenize", body)
            times_s.append(came_s - sent_s)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield times_s
    finally:
        over.set()
        asking.join()


def crowd(server: Server) -> tuple[dict[str, list[Exchange]], float]:
    names = [f"agent-{number}" for number in range(SESSIONS)]
    with timed_frontend(server) as times_s, ThreadPoolExecutor(SESSIONS) as pool:
        done = pool.map(lambda at: session(server, names[at], APART_S * at), range(SESSIONS))
        return dict(zip(names, done, strict=True)), statistics.median(times_s)


@pytest.fixture(scope="module")
def served(model_folder: Path, bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Served:
    folder = tmp_path_factory.mktemp("two")
    deployment = {"bundle": str(bundle_folder), "traces": str(folder / "traces")}
    arguments = [*hook_arguments(deployment), "--data-parallel-size", "2", "--max-num-seqs", "8"]
    with vllm_server(model_folder, log=folder / "server.log", extra_args=arguments, environment=ONE_THREAD) as server:
        exchanges, frontend_s = crowd(server)
        wait_for_turns(folder / "traces", SESSIONS * TURNS)
        check_refusal_of_a_missing_rank(server)
    return Served(exchanges, folder / "traces", frontend_s)


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


def test_every_turn_of_a_session_is_on_its_engine(served: Served) -> None:
    exchanges, folder, _ = served
    sessions, names = recorded(folder), Pseudonyms.kept_in(folder)
    engines = []
    for name in exchanges:
        turns = sessions[session_name(name, names)]
        assert [turn["turn"] for turn in turns] == list(range(TURNS))
        (engine,) = {turn["engine"] for turn in turns}
        engines.append(engine)
    assert len(set(engines)) == 2
    assert min(engines.count(engine) for engine in set(engines)) >= SESSIONS // 4


def test_recorded_pauses_are_those_of_the_client(served: Served) -> None:
    """An engine's pause is longer by what the API server takes for the answer and the next request, which grows with
    the load of this machine."""
    apart_s = statistics.median(map(abs, pauses_apart_s(served)))
    assert apart_s < NEAR_S + served.frontend_s, served.frontend_s


def pauses_apart_s(served: Served) -> list[float]:
    """By how much each recorded pause is longer than the client's."""
    sessions, names = recorded(served.traces), Pseudonyms.kept_in(served.traces)
    return [
        turns[turn + 1]["arrival_s"] - turns[turn]["finish_s"] - (seen[turn + 1][0] - seen[turn][1])
        for name, seen in served.exchanges.items()
        for turns in [sessions[session_name(name, names)]]
        for turn in range(TURNS - 1)
    ]
