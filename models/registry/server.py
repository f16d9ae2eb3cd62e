"""Reading a registry on an MLflow server: no redirects, and answers of bounded size and time.

MLflow's own client reads answers of any size and follows redirects.
"""

import json
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from importlib import import_module
from types import SimpleNamespace
from typing import Any

MAX_BYTES = 16 * 2**20
"""Largest answer: as large as the largest file of a bundle."""
MAX_PAGES = 100
LIMIT_S = 60.0
"""Longest time of an answer."""
_API = "/api/2.0/mlflow"
_CHUNK_BYTES = 65_536


class ServerReader:
    """The read methods of MLflow's client that `versions.registered_versions` calls, and files of versions."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._pages = 0

    def search_registered_models(self, filter_string: str) -> list[SimpleNamespace]:
        found = self._json("/registered-models/search", {"filter": filter_string}).get("registered_models", [])
        return [SimpleNamespace(aliases=_pairs(entry.get("aliases", []), "alias", "version")) for entry in found]

    def search_model_versions(self, filter_string: str, page_token: str | None = None) -> "Page":
        self._pages = self._pages + 1 if page_token else 1
        if self._pages > MAX_PAGES:
            raise ValueError(f"it lists versions on more than {MAX_PAGES} pages")
        query = {"filter": filter_string, **({"page_token": page_token} if page_token else {})}
        answer = self._json("/model-versions/search", query)
        return Page(map(_version, answer.get("model_versions", [])), answer.get("next_page_token", ""))

    def get(self, route: str, query: Mapping[str, str]) -> bytes:
        """The answer's body. Raises ValueError for any status but 200, and for an answer that is too large or slow.

        A thread reads, which is left behind where it takes too long: a server may send a byte now and then, so that no
        single read times out.
        """
        read: Future[bytes] = Future()

        def run() -> None:
            try:
                read.set_result(self._get(route, query))
            except Exception as error:  # noqa: BLE001 — raised below
                read.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        try:
            return read.result(LIMIT_S)
        except TimeoutError as error:
            if read.done():
                raise
            raise ValueError(f"the answer takes more than {LIMIT_S:.0f} s") from error

    def _get(self, route: str, query: Mapping[str, str]) -> bytes:
        credentials: Any = import_module("mlflow.utils.credentials")
        rest: Any = import_module("mlflow.utils.rest_utils")
        host = credentials.get_default_host_creds(self._uri)
        answer = rest.http_request(host, route, "GET", params=query, stream=True, allow_redirects=False)
        with answer:
            if answer.status_code != 200:
                raise ValueError(f"status {answer.status_code} {answer.reason}")
            body = bytearray()
            for chunk in answer.iter_content(_CHUNK_BYTES):
                body += chunk
                if len(body) > MAX_BYTES:
                    raise ValueError(f"the answer has more than {MAX_BYTES} bytes")
        return bytes(body)

    def _json(self, route: str, query: Mapping[str, str]) -> dict[str, Any]:
        value = json.loads(self.get(_API + route, query))
        if not isinstance(value, dict):
            raise TypeError("the answer is not a JSON object")
        return value


class Page(list[SimpleNamespace]):
    """Some versions, and the token of the next page; "" on the last one."""

    def __init__(self, entries: Any, token: str) -> None:
        super().__init__(entries)
        self.token = token


def _version(entry: Mapping[str, Any]) -> SimpleNamespace:
    texts = {name: entry.get(name, "") for name in ("description", "run_id", "source")}
    created_ms = int(entry["creation_timestamp"])
    tags = _pairs(entry.get("tags", []), "key", "value")
    return SimpleNamespace(version=entry["version"], creation_timestamp=created_ms, tags=tags, **texts)


def _pairs(entries: Any, key: str, value: str) -> dict[str, Any]:
    return {entry[key]: entry[value] for entry in entries}
