"""A bundle of predictors that were really fitted and exported, on a few random rows."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

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

FIT = FitSettings(3, 3, 3, 2, 0.3, 0.3, 2, 2, 1.0, 1.0, 1.0, 1.0, seed=1)


def write_small_bundle(folder: Path) -> Path:
    """Write the models to `folder`/onnx and the bundle to `folder`/bundle; returns the bundle's folder."""
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


def _random_set(target: Target, count: int = 64) -> TrainingSet:
    random = np.random.default_rng(1)
    rows = random.random((count, len(target.features)), np.float32)
    names = np.asarray([f"s{index}" for index in range(count)])
    constant = np.full(count, "made")
    parts = np.array(["train", "validation", "test", "train"] * (count // 4))
    values = random.uniform(1, 100, count) if target.kind == "quantiles" else random.integers(0, 2, count).astype(float)
    censored = np.zeros(count, np.bool_)
    return TrainingSet(target, rows, values, constant, names, parts, constant, censored)
