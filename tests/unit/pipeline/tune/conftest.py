import importlib.util
from pathlib import Path

import pytest

SEARCHING = Path(__file__).with_name("searching.py")


@pytest.fixture(scope="session")
def searching():
    """The module that also runs as a program; see there."""
    spec = importlib.util.spec_from_file_location("searching", SEARCHING)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """One for all tests: MLflow takes seconds to make its database."""
    return tmp_path_factory.mktemp("tune")


@pytest.fixture
def in_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def params(searching, tmp_path):
    """Parameters with a storage of their own."""
    return searching.PARAMS.changed(storage=f"sqlite:///{tmp_path}/optuna.db")
