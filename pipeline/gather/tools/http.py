"""An HTTP request to a small web service on the loopback interface, which this module also runs."""

import asyncio
import hashlib
import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from urllib.parse import parse_qs, urlsplit

from .tool import Arguments, Specification, clipped

TIMEOUT_S = 20.0
SKIES = ("clear", "cloudy", "rain", "snow", "fog", "wind")


class HttpTool:
    specification = Specification(
        "http_get", "Fetch a path of the data service.", {"path": ("string", "path and query")}
    )

    def __init__(self, port: int) -> None:
        self._port = port

    async def run(self, arguments: Arguments) -> str:
        return await asyncio.to_thread(self._get, str(arguments["path"]))

    def _get(self, path: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_S)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return clipped(f"{response.status} {response.reason}\n{response.read().decode('utf-8', 'replace')}")
        except (OSError, http.client.HTTPException) as error:
            return f"error: {error}"
        finally:
            connection.close()


@contextmanager
def data_service() -> Iterator[int]:
    """Run the service in a thread and yield its free loopback port. The service ends with the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, name="data-service", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    """Answers depend on the path only: /weather?city=, /digest?rounds=, /report?rows=. Others are 404."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        try:
            body = _ROUTES[url.path](query)
            status = 200
        except (KeyError, ValueError):
            body, status = {"error": f"nothing at {self.path}"}, 404
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Keep the terminal for the progress bar."""


def _weather(query: dict[str, str]) -> dict[str, object]:
    random = Random(query["city"])
    return {"city": query["city"], "sky": random.choice(SKIES), "celsius": random.randint(-5, 34)}


def _digest(query: dict[str, str]) -> dict[str, object]:
    rounds = min(int(query["rounds"]), 2_000_000)
    return {"rounds": rounds, "sha256": hashlib.pbkdf2_hmac("sha256", b"augserve", b"salt", rounds).hex()}


def _report(query: dict[str, str]) -> dict[str, object]:
    rows = min(int(query["rows"]), 500_000)
    random = Random(rows)
    values = sorted(random.random() for _ in range(rows))
    return {"rows": rows, "median": round(values[rows // 2], 4), "largest": [round(value, 4) for value in values[-5:]]}


_ROUTES = {"/weather": _weather, "/digest": _digest, "/report": _report}
