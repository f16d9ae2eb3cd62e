"""The answer to a refused request, and the count of refused ones in /metrics."""

import json
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from .gate import Refused

if TYPE_CHECKING:
    from prometheus_client import Metric

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


async def refuse(send: Send, refused: Refused) -> None:
    """Answer 429 as the OpenAI API does, without reading more of the request."""
    message = f"expected wait {refused.expected_s:.0f} s: the server is overloaded; try again later"
    error = {"message": message, "type": "TooManyRequestsError", "param": None, "code": 429}
    body = json.dumps({"error": error}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", str(refused.retry_after_s).encode()),
    ]
    await send({"type": "http.response.start", "status": 429, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class RefusedCount:
    """A collector of one counter in the API server's own registry."""

    def __init__(self) -> None:
        self._count = 0

    def inc(self) -> None:
        if not self._count:
            from prometheus_client import REGISTRY

            REGISTRY.register(self)
        self._count += 1

    def describe(self) -> "list[Metric]":
        """Nothing, so that each server of a process may have a collector."""
        return []

    def collect(self) -> "Iterator[Metric]":
        from prometheus_client.core import CounterMetricFamily

        yield CounterMetricFamily("augserve_refused_turns", "Turns that got 429 (refuse_after_s).", self._count)
