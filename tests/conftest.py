"""What all tests share."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile(
    "augserve",
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "100")),
    deadline=None,  # loaded machines are slow; timing is for benches
    derandomize="CI" in os.environ,  # at a desk new cases are looked for; CI judges a change, not its luck
    print_blob=True,
)
settings.load_profile("augserve")


@pytest.fixture(scope="session")
def mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow store, to copy: making its tables takes seconds."""
    from mlflow.tracking import MlflowClient

    logging.getLogger("alembic").setLevel(logging.WARNING)
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments(max_results=1)
    return path


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small bundle, to copy."""
    from .small_bundle import write_small_bundle

    return write_small_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def vllm_log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.LogCaptureFixture]:
    """What is logged below vLLM's logger, whether or not vLLM has been imported and has cut it off from the root's."""
    logger = logging.getLogger("vllm")
    monkeypatch.setattr(logger, "propagate", False)
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.WARNING, logger.name):
        yield caplog
    logger.removeHandler(caplog.handler)
