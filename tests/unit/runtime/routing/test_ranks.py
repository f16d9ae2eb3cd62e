"""The header by which vLLM sends a session to its engine."""

import argparse
import asyncio
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from augserve.runtime.hints.identity import Identity
from augserve.runtime.hints.middleware import AugServeMiddleware
from augserve.runtime.publisher import FOLDER_VARIABLE
from augserve.runtime.routing import load_notice
from augserve.runtime.routing.load_notice import LoadWriter
from augserve.runtime.routing.ranks import RANK_HEADER, Ranks


def scope_of(**arguments: Any) -> dict[str, Any]:
    given = argparse.Namespace(**{f"data_parallel_{name}": value for name, value in arguments.items()})
    return {"app": SimpleNamespace(state=SimpleNamespace(args=given))}


@pytest.fixture
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[LoadWriter]:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setattr(load_notice, "_lives", lambda _: True)
    writers = []
    for rank in range(4):
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda rank=rank: 1000 + rank)
            writers.append(LoadWriter(tmp_path, rank))
            writers[-1].tell(0.0, 0.0)
    return writers


def test_a_session_stays_on_its_engine_whatever_api_server_reads_it(engines: list[LoadWriter]) -> None:
    servers = [Ranks(scope_of(size=4)) for _ in range(2)]
    first = [servers[0].header("", Identity(f"s{number}"), []) for number in range(12)]
    for rank, writer in enumerate(engines):
        writer.tell(10.0 * rank, 0.0)
    again = [servers[1].header("", Identity(f"s{number}"), []) for number in range(12)]
    assert again == first
    assert len(set(first)) > 1
    assert servers[1].header("", Identity("new"), []) == (RANK_HEADER, b"0")
    child = servers[0].header("", Identity("child", parent="s3"), [])
    assert child == first[3]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"size": 1},
        {"size": 4, "external_lb": True},
        {"size": 4, "rank": 2},
        {"size": 4, "size_local": 1, "hybrid_lb": True},
    ],
)
@pytest.mark.usefixtures("engines")
def test_a_server_with_one_engine_asks_for_none(arguments: dict[str, Any]) -> None:
    assert Ranks(scope_of(**arguments)).header("", Identity("s"), []) is None


def test_a_server_of_some_engines_counts_from_its_first(engines: list[LoadWriter]) -> None:
    server = Ranks(scope_of(size=4, size_local=2, start_rank=2))
    engines[2].tell(5.0, 0.0)
    assert server.header("", Identity("s"), []) == (RANK_HEADER, b"1")


@pytest.mark.usefixtures("engines")
def test_an_unnamed_session_and_one_that_a_router_has_placed_are_left_alone() -> None:
    server = Ranks(scope_of(size=4))
    assert server.header("", Identity(), []) is None
    assert server.header("", Identity("s"), [(b"X-Data-Parallel-Rank", b"3")]) is None
    assert server.header("", Identity("s"), [(b"x-data-parallel-rank", b"three")]) is not None


def test_tenants_that_use_the_same_name_do_not_share_a_place(engines: list[LoadWriter]) -> None:
    server = Ranks(scope_of(size=4))
    engines[0].tell(0.0, 0.0)
    for rank in (1, 2, 3):
        engines[rank].tell(50.0, 0.0)
    assert server.header("one", Identity("s"), []) == (RANK_HEADER, b"0")
    engines[0].tell(90.0, 0.0)
    engines[3].tell(0.0, 0.0)
    assert server.header("two", Identity("s"), []) == (RANK_HEADER, b"3")


def test_a_folder_that_cannot_be_written_leaves_the_choice_to_vllm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "missing"))
    assert Ranks(scope_of(size=2)).header("", Identity("s"), []) is None


class Server:
    """What reaches the server behind the middleware."""

    def __init__(self) -> None:
        self.seen: list[dict[bytes, bytes]] = []  # headers of each request
        self._middleware = AugServeMiddleware(self._answer)

    def post(self, path: str, *headers: tuple[bytes, bytes]) -> None:
        scope = {**scope_of(size=4), "type": "http", "method": "POST", "path": path, "headers": list(headers)}
        asyncio.run(self._middleware(scope, _receive, _send))

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(dict(scope["headers"]))


async def _receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"{}", "more_body": False}


async def _send(message: Any) -> None: ...


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/messages"])
def test_the_middleware_sends_the_turns_of_a_session_and_its_sub_agent_to_one_engine(
    engines: list[LoadWriter], path: str
) -> None:
    server = Server()
    server.post(path, (b"x-claude-code-session-id", b"run"))
    rank = server.seen[0][RANK_HEADER]
    engines[int(rank)].tell(100.0, 0.0)
    server.post(path, (b"x-session-id", b"run"))
    server.post(path, (b"x-session-id", b"child"), (b"x-parent-session-id", b"run"), (RANK_HEADER, b"any"))
    server.post(path)
    assert [headers.get(RANK_HEADER) for headers in server.seen] == [rank, rank, rank, None]


@pytest.mark.usefixtures("engines")
def test_a_response_for_which_vllm_reads_no_rank_is_not_placed() -> None:
    server = Server()
    for path in ("/v1/responses", "/v1/completions", "/v1/completions"):
        server.post(path, (b"x-session-id", b"run"))
    none, first, second = (headers.get(RANK_HEADER) for headers in server.seen)
    assert none is None
    assert first == second is not None
