import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augserve.pipeline.server.completion import Completion, stream_completion


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085"])
def test_an_output_may_contain_unicode_line_separators(separator: str, end: str) -> None:
    event = {"choices": [{"text": f"a{separator}b", "token_ids": [1, 2], "finish_reason": "stop"}]}
    text = json.dumps(event, ensure_ascii=False)
    stream = f"data: {text}{end}{end}data: [DONE]{end}{end}".encode()

    async def read() -> tuple[list[int], Completion]:
        transport = httpx.MockTransport(lambda _: httpx.Response(200, content=stream))
        async with httpx.AsyncClient(transport=transport) as client:
            completion = Completion()
            url = "http://server/v1/completions"
            output = await stream_completion(client, url, b"{}", {}, completion, lambda: 1.0)
            return output.token_ids, completion

    ids, completion = asyncio.run(read())
    assert (ids, completion.failure, completion.finish_reason) == ([1, 2], None, "stop")


def test_a_chat_stream_gives_its_text_and_the_times_of_its_first_and_last_token() -> None:
    deltas = [{"role": "assistant", "content": ""}, {"content": "a"}, {"content": "b"}]
    events: list[dict[str, object]] = [{"choices": [{"delta": delta, "finish_reason": None}]} for delta in deltas]
    events += [{"choices": [{"delta": {}, "finish_reason": "stop"}]}]
    events += [{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}]
    stream = "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode()
    clock = iter(range(10))

    async def read() -> tuple[str, Completion]:
        transport = httpx.MockTransport(lambda _: httpx.Response(200, content=stream))
        async with httpx.AsyncClient(transport=transport) as client:
            completion = Completion()
            output = await stream_completion(client, "http://server", b"{}", {}, completion, lambda: float(next(clock)))
            return output.text, completion

    text, completion = asyncio.run(read())
    assert (text, completion.first_token_s, completion.finish_s) == ("ab", 2.0, 3.0)
    assert (completion.prompt_tokens, completion.output_tokens) == (3, 2)


def failed(status: int, content: bytes, chunk: int = 1 << 16) -> tuple[Completion, int]:
    """The completion of a server that answers this, and the bytes that the client read of it."""
    sent = [0]

    async def answer() -> AsyncIterator[bytes]:
        for start in range(0, len(content), chunk):
            sent[0] += chunk
            yield content[start : start + chunk]

    async def read() -> Completion:
        transport = httpx.MockTransport(lambda _: httpx.Response(status, content=answer()))
        async with httpx.AsyncClient(transport=transport) as client:
            completion = Completion()
            await stream_completion(client, "http://server", b"{}", {}, completion, lambda: 1.0)
            return completion

    return asyncio.run(read()), sent[0]


def test_a_line_without_end_is_a_failure() -> None:
    completion, read = failed(200, b"data: " + b"x" * (16 << 20))
    assert completion.failure == "unreadable stream"
    assert read < 8 << 20


def test_an_endless_error_is_read_in_part() -> None:
    completion, read = failed(500, b"x" * (16 << 20))
    assert completion.failure == "HTTP 500"
    assert read < 1 << 20


@given(st.lists(st.text(max_size=20), max_size=5), st.integers(1, 9))
def test_lines_are_read_whole_however_they_are_cut(texts: list[str], chunk: int) -> None:
    events = [{"choices": [{"text": text, "finish_reason": None}]} for text in texts]
    content = "".join(f"data: {json.dumps(event, ensure_ascii=False)}\n\n" for event in events).encode()
    content += b'data: {"choices": [{"text": "", "finish_reason": "stop"}]}'

    async def answer() -> AsyncIterator[bytes]:
        for start in range(0, len(content), chunk):
            yield content[start : start + chunk]

    async def read() -> str:
        transport = httpx.MockTransport(lambda _: httpx.Response(200, content=answer()))
        async with httpx.AsyncClient(transport=transport) as client:
            return (await stream_completion(client, "http://server", b"{}", {}, Completion(), lambda: 1.0)).text

    assert asyncio.run(read()) == "".join(texts)
