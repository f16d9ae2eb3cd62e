"""What all tests share."""

import logging
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("augserve", deadline=None, print_blob=True)  # loaded machines are slow; timing is for benches
settings.load_profile("augserve")


@pytest.fixture(scope="session")
def mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow store, to copy: making its tables takes seconds."""
    from mlflow.tracking import MlflowClient

    logging.getLogger("alembic").setLevel(logging.WARNING)
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments(max_results=1)
    return path
