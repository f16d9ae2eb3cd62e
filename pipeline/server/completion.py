"""The streaming OpenAI client: one completion, with the times of its tokens and the server's counts."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import httpx

from .endpoint import failure_of

SESSION_HEADER = "X-Session-ID"
PARENT_HEADER = "X-Parent-Session-ID"  # of a sub-agent: the session that waits for it
_DETAIL_LENGTH = 300
_LINE_BYTES = 4 << 20  # an event has a few tokens
_ERROR_BYTES = 64 << 10


@dataclass(slots=True, kw_only=True)
class Completion:
    """A completion as its client saw it. Times are seconds on the client's clock; None: not reached or not reported."""

    sent_s: float = 0.0
    first_token_s: float | None = None  # None after the end: the output was empty
    finish_s: float | None = None  # of the last token; None if the request failed or was cancelled
    prompt_tokens: int | None = None  # counted by the server
    output_tokens: int = 0
    cached_tokens: int | None = None
    finish_reason: str | None = None
    request_id: str | None = None
    failure: str | None = None  # a short name of the reason, the same for all such failures
    detail: str | None = None  # the message of the server or the system


class Output(NamedTuple):
    text: str
    token_ids: list[int]  # empty if the server does not report them


async def stream_completion(
    client: httpx.AsyncClient,
    url: str,
    body: bytes,
    headers: dict[str, str],
    completion: Completion,
    now: Callable[[], float],
) -> Output:
    """Send a request of either API (chat or text) and fill `completion` as its tokens arrive.

    An error of the server or the connection is not raised: it becomes `completion.failure`.
    """
    reader = _Reader(completion, now)
    completion.sent_s = now()
    try:
        async with client.stream("POST", url, content=body, headers=headers) as response:
            if response.status_code != httpx.codes.OK:
                reader.fail(f"HTTP {response.status_code}", _message(await _beginning(response)))
                return reader.output
            async for line in _lines(response):
                if line.startswith("data:") and not reader.take(line[5:].strip()):
                    break
    except httpx.HTTPError as error:
        reader.fail(failure_of(error), str(error))
    except ValueError as error:
        reader.fail("unreadable stream", str(error))
    else:
        reader.end()
    return reader.output


async def _lines(response: httpx.Response) -> AsyncIterator[str]:
    """Lines of server-sent events. httpx's own lines also end at U+2028 and the like, which an output may contain."""
    rest = bytearray()
    async for part in response.aiter_bytes():
        end, *begun = part.split(b"\n")
        rest += end
        for line in begun:
            yield rest.decode("utf-8")
            rest = bytearray(line)
        if len(rest) > _LINE_BYTES:
            raise ValueError(f"a line of more than {_LINE_BYTES >> 20} MiB")
    if rest:
        yield rest.decode("utf-8")


async def _beginning(response: httpx.Response) -> str:
    """The beginning of an error's body, which may be of any length."""
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) >= _ERROR_BYTES:
            break
    return body[:_ERROR_BYTES].decode("utf-8", "replace")


class _Reader:
    def __init__(self, completion: Completion, now: Callable[[], float]) -> None:
        self._completion = completion
        self._now = now
        self._texts: list[str] = []
        self._token_ids: list[int] = []
        self._last_token_s: float | None = None

    @property
    def output(self) -> Output:
        return Output("".join(self._texts), self._token_ids)

    def take(self, data: str) -> bool:
        """Read one event. False ends the stream."""
        if data == "[DONE]":
            return False
        now_s = self._now()
        event: dict[str, Any] = json.loads(data)
        if "error" in event:
            self.fail("error in the stream", _message(data))
            return False
        completion = self._completion
        completion.request_id = event.get("id") or completion.request_id
        if usage := event.get("usage"):
            completion.prompt_tokens = usage.get("prompt_tokens")
            completion.output_tokens = usage.get("completion_tokens") or 0
            completion.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
        for choice in event.get("choices") or ():
            token_ids = choice.get("token_ids") or ()
            text = choice.get("text") or (choice.get("delta") or {}).get("content") or ""
            if token_ids or text:
                self._token_ids += token_ids
                self._texts.append(text)
                self._last_token_s = now_s
                if completion.first_token_s is None:
                    completion.first_token_s = now_s
            if choice.get("finish_reason"):
                completion.finish_reason = choice["finish_reason"]
                completion.finish_s = self._last_token_s or now_s
        return True

    def end(self) -> None:
        completion = self._completion
        if completion.finish_reason is None and completion.failure is None:
            self.fail("stream ended early", "no finish_reason")
        if completion.prompt_tokens is None:  # the server counts nothing
            completion.output_tokens = max(completion.output_tokens, len(self._token_ids))

    def fail(self, reason: str, detail: str) -> None:
        self._completion.failure = reason
        self._completion.detail = " ".join(detail.split())[:_DETAIL_LENGTH]
        self._completion.finish_s = None


def _message(text: str) -> str:
    """The message of an OpenAI error, else the text itself."""
    try:
        body = json.loads(text)
        error = body.get("error", body)
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError, AttributeError):
        return text
