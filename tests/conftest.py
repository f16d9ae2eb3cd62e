"""What all tests share."""

import logging
import os
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
