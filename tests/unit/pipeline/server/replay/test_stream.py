import asyncio
import json

import httpx
import pytest

from augserve.pipeline.server.replay.seen import TurnSeen
from augserve.pipeline.server.replay.stream import read_turn


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085"])
def test_an_output_may_contain_what_unicode_takes_for_a_line_s_end(separator: str, end: str) -> None:
    event = {"choices": [{"text": f"a{separator}b", "token_ids": [1, 2], "finish_reason": "stop"}]}
    text = json.dumps(event, ensure_ascii=False)
    stream = f"data: {text}{end}{end}data: [DONE]{end}{end}".encode()

    async def read() -> tuple[list[int], TurnSeen]:
        transport = httpx.MockTransport(lambda _: httpx.Response(200, content=stream))
        async with httpx.AsyncClient(transport=transport) as client:
            seen = TurnSeen("s", "k", 0, True, 0.0, 3, 2, 0.0)
            return await read_turn(client, "http://server/v1/completions", b"{}", {}, seen, lambda: 1.0), seen

    ids, seen = asyncio.run(read())
    assert (ids, seen.failure, seen.finish_reason) == ([1, 2], None, "stop")
