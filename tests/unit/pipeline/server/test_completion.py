import asyncio
import json

import httpx
import pytest

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
