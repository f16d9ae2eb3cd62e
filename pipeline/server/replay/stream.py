"""The stream of a completion, read as it comes: when tokens came, and what the server counted."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx

from .endpoint import failure_of
from .seen import TurnSeen

_DETAIL_LENGTH = 300


async def read_turn(
    client: httpx.AsyncClient, url: str, body: bytes, headers: dict[str, str], seen: TurnSeen, now: Callable[[], float]
) -> list[int]:
    """Send a turn and fill `seen` as its tokens come; gives their ids, where the server tells them.

    Nothing that the server does is raised: it is `seen.failure`.
    """
    reader = _Reader(seen, now)
    seen.sent_s = now()
    try:
        async with client.stream("POST", url, content=body, headers=headers) as response:
            if response.status_code != httpx.codes.OK:
                text = (await response.aread()).decode("utf-8", "replace")
                reader.fail(f"HTTP {response.status_code}", _message(text))
                return reader.ids
            async for line in _lines(response):
                if line.startswith("data:") and not reader.take(line[5:].strip()):
                    break
    except httpx.HTTPError as error:
        reader.fail(failure_of(error), str(error))
    except ValueError as error:
        reader.fail("unreadable stream", str(error))
    else:
        reader.end()
    return reader.ids


async def _lines(response: httpx.Response) -> AsyncIterator[str]:
    """Lines of server-sent events: httpx's own end at U+2028 and its like too, which an output may contain."""
    rest = b""
    async for part in response.aiter_bytes():
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            yield line.decode("utf-8")
    if rest:
        yield rest.decode("utf-8")


class _Reader:
    def __init__(self, seen: TurnSeen, now: Callable[[], float]) -> None:
        self.ids: list[int] = []
        self._seen = seen
        self._now = now
        self._last_token_s: float | None = None

    def take(self, data: str) -> bool:
        """Take one event; False ends the stream."""
        if data == "[DONE]":
            return False
        now_s = self._now()
        event: dict[str, Any] = json.loads(data)
        if "error" in event:
            self.fail("error in the stream", _message(data))
            return False
        seen = self._seen
        seen.request_id = event.get("id") or seen.request_id
        if usage := event.get("usage"):
            seen.prompt_tokens = usage.get("prompt_tokens")
            seen.output_tokens = usage.get("completion_tokens") or 0
            seen.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
        for choice in event.get("choices") or ():
            token_ids = choice.get("token_ids") or ()
            if token_ids or choice.get("text"):
                self.ids += token_ids
                self._last_token_s = now_s
                if seen.first_token_s is None:
                    seen.first_token_s = now_s
            if choice.get("finish_reason"):
                seen.finish_reason = choice["finish_reason"]
                seen.finish_s = self._last_token_s or now_s
        return True

    def end(self) -> None:
        seen = self._seen
        if seen.finish_reason is None and seen.failure is None:
            self.fail("stream ended early", "no finish_reason")
        if seen.prompt_tokens is None:  # a server that counts nothing: what it sent is what there is
            seen.output_tokens = max(seen.output_tokens, len(self.ids))

    def fail(self, reason: str, detail: str) -> None:
        self._seen.failure = reason
        self._seen.detail = " ".join(detail.split())[:_DETAIL_LENGTH]
        self._seen.finish_s = None


def _message(text: str) -> str:
    """The message of an OpenAI error, else the text itself."""
    try:
        body = json.loads(text)
        error = body.get("error", body)
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError, AttributeError):
        return text
