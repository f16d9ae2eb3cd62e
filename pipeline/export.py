"""Stage `export`: the trained models as ONNX, each proven to say the same as XGBoost before any is kept."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..data.atomic import replace_folder, write_json
from ..models.drift import DRIFT_FILE, reference
from ..models.fitted import FittedModels, load_models
from ..models.onnx_export import check_parity, export_models, hard_rows
from ..models.onnx_predictor import GRAPHS, OnnxPredictor
from ..models.target import TARGETS
from ..models.training_set import TrainingError, TrainingSet, read_training_set
from .params import BaseParams, load_params, require
from .prepare import TRAINING
from .stage import run_stage
from .train import SUMMARY, TRAINED

logger = logging.getLogger(__name__)

ONNX = Path("models/onnx")
METRICS = Path("reports/export/metrics.json")


@dataclass(frozen=True, slots=True)
class ExportParams:
    tolerance: float
    rows: int

    def __post_init__(self) -> None:
        require(0 < self.tolerance <= 0.01, "export.tolerance", self.tolerance, "in (0, 0.01]")
        require(self.rows >= 1, "export.rows", self.rows, "1 or more")


def main() -> None:
    seed = load_params("base", BaseParams).seed
    params = load_params("export", ExportParams)
    summary = read_summary(TRAINED / SUMMARY)
    models = [load_models(TRAINED, target) for target in TARGETS]
    sets = {target.name: read_training_set(TRAINING / f"{target.name}.parquet", target) for target in TARGETS}
    parity: dict[str, Any] = {}

    def fill(folder: Path) -> None:
        export_models(models, folder, summary["targets"])
        parity.update(prove(models, folder, sets, params, seed))
        (folder / DRIFT_FILE).write_bytes(_drift(sets, summary))

    replace_folder(ONNX, fill)
    write_json(METRICS, parity)


def prove(
    models: list[FittedModels], folder: Path, sets: dict[str, TrainingSet], params: ExportParams, seed: int
) -> dict[str, dict[str, float]]:
    """Largest relative difference and rows compared, by target. Raises ExportError beyond the tolerance."""
    exported = OnnxPredictor.load(folder)
    generator = np.random.default_rng(seed)
    found = {}
    for one in tqdm(models, desc="parity", unit="target"):
        rows = sets[one.target.name].rows
        chosen = np.sort(generator.permutation(len(rows))[: params.rows])
        hard = hard_rows(rows[chosen], seed)
        worst = check_parity(one, exported, hard, params.tolerance)
        found[one.target.name] = {"relative_error": worst, "rows": len(hard), "real_rows": len(chosen)}
        logger.info("%s: ONNX within %.1e of XGBoost on %d rows", one.target.name, worst, len(hard))
    return found


def read_summary(path: Path) -> dict[str, Any]:
    """The training summary. Raises TrainingError where it is missing or no JSON object with each target."""
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        complete = set(summary["targets"]) == {target.name for target in TARGETS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path}: not a training summary ({error}); run `dvc repro train`") from error
    if not complete:
        raise TrainingError(f"{path}: made for other targets; run `dvc repro train`")
    return dict(summary)


def _drift(sets: dict[str, TrainingSet], summary: dict[str, Any]) -> bytes:
    """Histograms of the rows learned from, by graph (its first target's rows stand for all), and expected coverage."""
    learned = {graph.file: sets[graph.targets[0].name] for graph in GRAPHS}
    rows = {file: data.rows[data.parts != "test"] for file, data in learned.items()}
    coverage = {name: found["coverage_80"] for name, found in summary["targets"].items()}
    return reference(rows, {name: value for name, value in coverage.items() if value is not None}).render()


if __name__ == "__main__":
    run_stage(main)
