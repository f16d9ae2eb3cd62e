"""Bundles and modes of a real server change under load, without a failed request."""

import json
import shutil
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import onnx
import pyarrow.dataset as ds
import pytest

from augserve.pipeline.operate.running_server import Scrape, scrape
from augserve.pipeline.server.process import MODEL_NAME, Server
from augserve.runtime.prediction.drift import BATCH_ROWS

from .bundles import another_bundle, put, version_of
from .faults import API_KEY, KEY_HEADER

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CALLERS = 3
MOST_SCHEDULE_S = 0.25  # a reload on the engine's loop would take three times as long
SWAP_BUCKET = "0.02"  # seconds that a change may add to a step
BACK_S = 5.0  # a look at the drift, the publication of the metrics, and the scrapes
SESSIONS = 24


class Load:
    """Callers that send one short turn after the other."""

    def __init__(self, server: Server) -> None:
        self.answers: list[int] = []
        self.begun_s = time.time()
        self._server = server
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(f"load-{number}",)) for number in range(CALLERS)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _call(self, session: str) -> None:
        body = {"model": MODEL_NAME, "prompt": f"Session {session} says", "max_tokens": 4, "ignore_eos": True}
        headers = {**KEY_HEADER, "X-Session-ID": session}
        with httpx.Client(base_url=self._server.base_url, headers=headers, trust_env=False, timeout=300) as client:
            while not self._stop.is_set():
                self.answers.append(client.post("completions", json=body).status_code)


@pytest.fixture
def load(server: Server) -> Iterator[Load]:
    running = Load(server)
    yield running
    running.end()
    assert set(running.answers) == {200}


def wait_for(server: Server, reached: Callable[[Scrape], object], timeout_s: float = 60.0) -> Scrape:
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if reached(found := scrape(server.url)):
            return found
        time.sleep(0.2)
    raise AssertionError([(sample.labels, sample.value) for sample in found.of("info")])


def decides(found: Scrape) -> tuple[str, str]:
    """Version and mode."""
    (labels,) = [sample.labels for sample in found.of("info") if sample.value]
    return labels["version"], labels["mode"]


def changes(found: Scrape, result: str) -> float:
    return found.total("bundle_changes_total", result=result)


@pytest.fixture
def make_bundle(bundle_folder: Path, tmp_path: Path) -> Callable[..., Path]:
    return lambda number, models=bundle_folder: another_bundle(models, tmp_path / f"bundle-{number}", number)


def test_a_new_bundle_is_taken_under_load(
    server: Server, load: Load, served_bundle: Path, make_bundle: Callable[..., Path]
) -> None:
    before = changes(scrape(server.url), "loaded")
    version = put(make_bundle(1), served_bundle)
    found = wait_for(server, lambda found: decides(found) == (version, "active"))
    assert changes(found, "loaded") == before + 1
    time.sleep(3.5)  # so that the steps are on the disk
    steps = ds.dataset(sorted((server.log.parent / "traces").glob("steps-*.parquet"))).to_table().to_pandas()
    longest_s = steps.schedule_s[steps.start_s > load.begun_s].max()
    assert longest_s < MOST_SCHEDULE_S, f"{longest_s * 1e3:.1f} ms"
    found = scrape(server.url)
    within = found.total("part_seconds_bucket", part="control", le=SWAP_BUCKET)
    changed, took_s = (found.total(f"part_seconds_{name}", part="control") for name in ("count", "sum"))
    assert within >= 0.8 * changed >= 0.8, f"{changed:.0f} changes took {took_s * 1e3:.1f} ms"


def test_a_half_copied_bundle_is_refused_and_taken_when_it_is_whole(
    server: Server, load: Load, served_bundle: Path, make_bundle: Callable[..., Path]
) -> None:
    before = scrape(server.url)
    bundle = make_bundle(2)
    shutil.copy(bundle / "manifest.json", served_bundle / "manifest.json")
    found = wait_for(server, lambda found: changes(found, "refused") > changes(before, "refused"))
    assert decides(found) == decides(before)
    shutil.copy(bundle / "scheduler.json", served_bundle / "scheduler.json")  # the models are the same
    wait_for(server, lambda found: decides(found) == (version_of(bundle), "active"))


def test_a_bundle_that_predicts_no_numbers_is_refused(
    server: Server, load: Load, served_bundle: Path, make_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    before = scrape(server.url)
    models = Path(shutil.copytree(served_bundle, tmp_path / "models"))
    model = onnx.load(models / "turns.onnx")
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "target_weights":
                attribute.floats[:] = [float("nan")] * len(attribute.floats)
    onnx.save(model, models / "turns.onnx")
    put(make_bundle(3, models), served_bundle)
    found = wait_for(server, lambda found: changes(found, "refused") > changes(before, "refused"))
    assert decides(found) == decides(before)


def test_a_bundle_that_does_not_fit_the_traffic_is_withdrawn(
    server: Server, load: Load, served_bundle: Path, make_bundle: Callable[..., Path]
) -> None:
    """The models were fitted on random rows, so all features drift as soon as there are enough turns."""
    before = decides(scrape(server.url))
    withdrawn = changes(scrape(server.url), "withdrawn")
    version = put(make_bundle(4), served_bundle)
    wait_for(server, lambda found: decides(found) == (version, "active"))
    many = {"model": MODEL_NAME, "prompt": [f"Turn {number}" for number in range(64)], "max_tokens": 1}
    headers = {**KEY_HEADER, "X-Session-ID": "load-0"}  # a known session is not refused
    with httpx.Client(base_url=server.base_url, headers=headers, trust_env=False, timeout=300) as client:
        for _ in range(2 * BATCH_ROWS // 64):
            assert client.post("completions", json=many).status_code == 200
    drifted_s = time.monotonic()
    found = wait_for(server, lambda found: changes(found, "withdrawn") > withdrawn)
    assert time.monotonic() - drifted_s < BACK_S
    assert decides(found) == before


def candidates(found: Scrape) -> list[str]:
    return [sample.labels["version"] for sample in found.of("candidate_info") if sample.value]


def test_a_candidate_forecasts_for_its_share_until_its_folder_is_gone(
    server: Server, load: Load, candidate_folder: Path, make_bundle: Callable[..., Path]
) -> None:
    before = decides(scrape(server.url))
    version = put(make_bundle(5), candidate_folder)
    wait_for(server, lambda found: candidates(found) == [version])
    with httpx.Client(base_url=server.base_url, headers=KEY_HEADER, trust_env=False, timeout=300) as client:
        for number in range(SESSIONS):
            body = {"model": MODEL_NAME, "prompt": f"Tried {number}", "max_tokens": 2, "ignore_eos": True}
            answer = client.post("completions", json=body, headers={"X-Session-ID": f"tried-{number}"})
            assert answer.status_code == 200
    found = wait_for(server, lambda found: found.total("ttft_seconds_count", bundle="candidate"))
    assert 0 < found.total("turns_total", bundle="candidate") < found.total("turns_total")
    assert decides(found) == before
    shutil.rmtree(candidate_folder)
    wait_for(server, lambda found: not candidates(found))


def ask(server: Server, mode: str, key: str) -> int:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(
        f"{server.url}/augserve/mode",
        json.dumps({"mode": mode}).encode(),
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    try:
        with direct.open(request, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_operator_changes_the_mode_and_nobody_else(server: Server, load: Load) -> None:
    version, _ = decides(scrape(server.url))
    assert ask(server, "shadow", "of a caller") == 401
    assert ask(server, "on", API_KEY) == 400
    for mode in ("shadow", "off", "active"):
        assert ask(server, mode, API_KEY) == 202
        wait_for(server, lambda found, mode=mode: decides(found) == (version, mode))
