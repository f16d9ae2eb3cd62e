"""Small trained models, their ONNX files and a bundle, each made once."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from augserve.models.learning.cross_fit import Learned, learn
from augserve.models.learning.forest import FitSettings
from augserve.models.learning.onnx_export import export_models
from augserve.models.learning.stacking import fit_tables
from augserve.models.learning.target_models import TargetModels
from augserve.models.learning.training_set import TrainingSet, split_sessions
from augserve.models.serving.bundle import Provenance, write_bundle
from augserve.models.serving.drift import DRIFT_FILE, reference
from augserve.models.serving.onnx_predictor import GRAPHS
from augserve.models.serving.settings import SchedulerSettings
from augserve.models.serving.target import TARGETS, Target

MakeSet = Callable[..., TrainingSet]


def _training_set(target: Target, count: int = 400, seed: int = 0, noise: float = 0.3) -> TrainingSet:
    """Rows whose value depends on the first feature. A fifth of the features is missing; a session has five rows."""
    draw = np.random.default_rng(seed)
    rows = draw.lognormal(3, 1, (count, len(target.features))).astype(np.float32)
    values = np.sqrt(rows[:, 0]) * np.exp(draw.normal(0, noise, count))
    if target.kind == "probability":
        values = (values > np.median(values)).astype(np.float64)
    rows[draw.random(rows.shape) < 0.2] = np.nan
    sessions = np.array([f"session-{index // 5}" for index in range(count)])
    parts = split_sessions([("made", session) for session in sessions.tolist()], 0.15, 0.2)
    return TrainingSet(
        target=target,
        rows=rows,
        values=values,
        sources=np.full(count, "made"),
        sessions=sessions,
        parts=np.array([parts["made", session] for session in sessions.tolist()]),
        groups=draw.choice(np.array(["sql", "python"]), count),
        censored=np.zeros(count, np.bool_),
    )


@pytest.fixture(scope="session")
def make_set() -> MakeSet:
    return _training_set


@pytest.fixture(scope="session")
def fit_settings() -> FitSettings:
    return FitSettings(40, 40, 40, 10, 0.2, 0.2, 3, 3, 1.0, 0.8, 0.8, 1.0, 7)


@pytest.fixture(scope="session")
def learned(fit_settings: FitSettings) -> list[Learned]:
    return learn([_training_set(target) for target in TARGETS], fit_settings)


@pytest.fixture(scope="session")
def trained(learned: list[Learned]) -> list[TargetModels]:
    return [entry.models for entry in learned]


@pytest.fixture(scope="session")
def onnx_folder(learned: list[Learned], trained: list[TargetModels], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    export_models(trained, folder, {target.name: {"rows": 400} for target in TARGETS}, fit_tables(learned, 7))
    rows = {graph.file: _training_set(graph.targets[0]).rows for graph in GRAPHS}
    (folder / DRIFT_FILE).write_bytes(reference(rows, {"output_length": 0.8}).render())
    return folder


@pytest.fixture(scope="session")
def provenance() -> Provenance:
    return Provenance("abc123", ">=0.29,<0.33", {"made": {"output_length": {"mae": 1.0}}}, {"gain": 1.5})


@pytest.fixture(scope="session")
def good_bundle(onnx_folder: Path, provenance: Provenance, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("good") / "bundle"
    write_bundle(path, onnx_folder, SchedulerSettings(), provenance, datetime(2026, 11, 23, tzinfo=UTC))
    return path


@pytest.fixture
def bundle(good_bundle: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(good_bundle, tmp_path / "bundle"))
