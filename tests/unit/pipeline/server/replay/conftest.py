"""A small OpenAI server on the loopback interface, that answers as a test tells it to."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

Lines = list[bytes]


@dataclass
class FakeServer:
    """`delay_s` before an output's first token, and none before as many are under way as `gather` says; `fail` gives a
    status and body for a turn, or None."""

    url: str = ""
    vllm: bool = True
    delay_s: float = 0.0
    gather: int = 0
    shorter_by: int = 0
    cut: bool = False
    garbage: bool = False
    fail: Callable[[dict[str, Any]], tuple[int, str] | None] = lambda _: None
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    most_at_once: int = 0
    _now: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        request, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if "/models" in request:
            model = {"id": "tiny", "owned_by": "vllm" if self.vllm else "other"}
            self._send(writer, 200, json.dumps({"data": [model | ({"max_model_len": 4096} if self.vllm else {})]}))
        elif "/completions" in request:
            await self._complete(json.loads(body), headers, writer)
        else:
            self._send(writer, 404, "nothing")
        await writer.drain()
        writer.close()

    def _send(self, writer: asyncio.StreamWriter, status: int, text: str) -> None:
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(text)}\r\nconnection: close\r\n\r\n{text}".encode())

    async def _complete(self, body: dict[str, Any], headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        self.bodies.append(body)
        self.headers.append(headers)
        if (failure := self.fail(body)) is not None:
            self._send(writer, *failure)
            return
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        await asyncio.sleep(self.delay_s)
        while self.most_at_once < self.gather:
            await asyncio.sleep(0.01)
        count = body["max_tokens"] - self.shorter_by
        for index in range(count):
            choice: dict[str, Any] = {"text": "x", "finish_reason": "length" if index + 1 == count else None}
            if body.get("return_token_ids"):
                choice["token_ids"] = [40_000 + index]
            self._event(writer, {"id": "cmpl-1", "choices": [choice]})
            if self.cut:
                writer.close()
                return
            if self.garbage:
                writer.write(b"data: {no json\n\n")
        usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": count}
        self._event(writer, {"id": "cmpl-1", "choices": [], "usage": usage})
        writer.write(b"data: [DONE]\n\n")
        self._now -= 1

    def _event(self, writer: asyncio.StreamWriter, event: dict[str, Any]) -> None:
        writer.write(f"data: {json.dumps(event)}\n\n".encode())


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    """The server runs in a thread of its own, so that the client under test has its event loop to itself."""
    fake = FakeServer()
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(fake.serve, "127.0.0.1", 0))
    fake.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield fake
    loop.call_soon_threadsafe(server.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
