"""A real Prometheus that scrapes one server."""

import json
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augserve.pipeline.server.process import HOST, Server, free_port

ALERTS = Path(__file__).parents[2] / "deploy" / "prometheus" / "alerts.yaml"
CONFIG = """
global: {{ scrape_interval: 1s, evaluation_interval: 1s }}
rule_files: ["{alerts}"]
scrape_configs:
  - job_name: vllm
    static_configs: [{{ targets: ["{target}"] }}]
"""


@dataclass(frozen=True)
class Prometheus:
    url: str

    def ask(self, path: str, **parameters: str) -> Any:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=10) as response:
            answer = json.loads(response.read())
        assert answer["status"] == "success"
        return answer["data"]

    def query(self, promql: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("query", query=promql)["result"]
        return found

    def wait_for(self, promql: str, timeout_s: float = 30.0) -> None:
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            try:
                if self.query(promql):
                    return
            except OSError:
                pass
            time.sleep(0.5)
        raise AssertionError(f"{promql} has no result within {timeout_s:.0f} s")


@contextmanager
def prometheus(program: str, server: Server, folder: Path) -> Iterator[Prometheus]:
    config = folder / "prometheus.yaml"
    config.write_text(CONFIG.format(alerts=ALERTS, target=server.url.removeprefix("http://")))
    address = f"{HOST}:{free_port()}"
    command = [program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stdout=log, stderr=subprocess.STDOUT)
    try:
        yield Prometheus(f"http://{address}")
    finally:
        process.terminate()
        process.wait(20)
