"""An OpenAI server: its address, its models and its counters."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from ..project.stage import StageError

API_KEY = "OPENAI_API_KEY"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_COUNTERS = {
    "vllm:num_preemptions_total": "preemptions",
    "vllm:prefix_cache_queries_total": "prefix_cache_queries",
    "vllm:prefix_cache_hits_total": "prefix_cache_hits",
}
# Less than the 5 s after which uvicorn closes an idle connection: a turn on a closing connection would fail.
_KEEPALIVE_S = 2.0
_CONNECT_S = 10.0
_READ_S = 600.0  # between two parts of a stream, including the wait in the queue


class ReplayError(StageError):
    """A replay cannot run, or all its turns failed; the message names the thing, the cause and the remedy."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server and its key. `url` ends in /v1."""

    url: str
    api_key: str | None

    @classmethod
    def parse(cls, url: str) -> "Endpoint":
        """From an address with or without /v1, and the environment's OPENAI_API_KEY. Raises ReplayError."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ReplayError(f"--url: {url!r} is no address of a server; write http://HOST:PORT")
        bare = url.rstrip("/")
        return cls(bare if bare.endswith("/v1") else f"{bare}/v1", os.environ.get(API_KEY) or None)

    @property
    def root(self) -> str:
        return self.url.removesuffix("/v1")

    def client(self) -> httpx.AsyncClient:
        """A client without a limit on connections: a limit would delay turns and close the loop."""
        return httpx.AsyncClient(
            headers={"Authorization": f"Bearer {self.api_key}"} if self.api_key else {},
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=_KEEPALIVE_S),
            timeout=httpx.Timeout(_READ_S, connect=_CONNECT_S, pool=None),
            trust_env=urlsplit(self.url).hostname not in _LOOPBACK,  # loopback: no proxy of the environment
        )


@dataclass(frozen=True, slots=True)
class ServedModel:
    name: str
    is_vllm: bool  # accepts vLLM's extra fields, such as the exact length of an output
    context_tokens: int | None


async def served_model(client: httpx.AsyncClient, endpoint: Endpoint, name: str | None) -> ServedModel:
    """The model `name`, or the first one (None). Raises ReplayError without an answer or the model."""
    url = f"{endpoint.url}/models"
    try:
        response = await client.get(url)
        response.raise_for_status()
        models = {str(model["id"]): model for model in response.json()["data"]}
    except httpx.HTTPStatusError as error:
        raise ReplayError(
            f"{url}: HTTP {error.response.status_code}; correct --url, or the key in {API_KEY}"
        ) from error
    except httpx.HTTPError as error:
        raise ReplayError(f"{url}: {failure_of(error)}; start the server or correct --url") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ReplayError(f"{url}: no list of models, so not an OpenAI server; correct --url") from error
    if not models or (name is not None and name not in models):
        raise ReplayError(
            f"--model: {name!r} is not served at {endpoint.url}; served are {', '.join(models) or 'none'}"
        )
    chosen = models[name or next(iter(models))]
    length = chosen.get("max_model_len")
    return ServedModel(str(chosen["id"]), chosen.get("owned_by") == "vllm", None if length is None else int(length))


def failure_of(error: httpx.HTTPError) -> str:
    """A short name of a connection error."""
    if isinstance(error, httpx.ConnectError):
        return "connection refused" if _is_refused(error) else "no connection"
    if isinstance(error, httpx.TimeoutException):
        return "timed out"
    return "connection broken"


def _is_refused(error: BaseException | None) -> bool:
    """Whether the error's root cause is a refused connection."""
    while error is not None and not isinstance(error, ConnectionRefusedError):
        error = error.__cause__ or error.__context__
    return error is not None


async def read_counters(client: httpx.AsyncClient, endpoint: Endpoint) -> dict[str, float] | None:
    """vLLM's counters, summed over their labels; None without them."""
    try:
        response = await client.get(f"{endpoint.root}/metrics")
    except httpx.HTTPError:
        return None
    if response.status_code != httpx.codes.OK:
        return None
    return parse_counters(response.text) or None


def parse_counters(text: str) -> dict[str, float]:
    counters: dict[str, float] = {}
    for line in text.splitlines():
        sample, _, value = line.rpartition(" ")
        name = _COUNTERS.get(sample.split("{", 1)[0])
        if name is not None:
            counters[name] = counters.get(name, 0.0) + float(value)
    return counters


def counted(before: Mapping[str, float] | None, after: Mapping[str, float] | None) -> dict[str, float]:
    """Increases of the counters; empty without counters."""
    if before is None or after is None:
        return {}
    return {name: value - before.get(name, 0.0) for name, value in after.items()}
