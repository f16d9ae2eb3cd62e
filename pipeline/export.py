"""Stage `export`: the trained models as ONNX, each proven to say the same as XGBoost before any is kept."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..data.atomic import replace_folder, write_json
from ..models.onnx_export import check_parity, export_models, hard_rows
from ..models.onnx_predictor import OnnxPredictor
from ..models.quantile import QuantileModels, load_models
from ..models.target import QUANTILE_TARGETS
from ..models.training_set import TrainingError, read_training_set
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
    models = [load_models(TRAINED, target) for target in QUANTILE_TARGETS]
    parity: dict[str, Any] = {}

    def fill(folder: Path) -> None:
        for one in tqdm(models, desc="export", unit="target"):
            export_models(one, folder, summary["targets"][one.target.name])
        parity.update(prove(models, folder, params, seed))

    replace_folder(ONNX, fill)
    write_json(METRICS, parity)


def prove(models: list[QuantileModels], folder: Path, params: ExportParams, seed: int) -> dict[str, dict[str, float]]:
    """Largest relative difference and rows compared, by target. Raises ExportError beyond the tolerance."""
    exported = OnnxPredictor.load(folder)
    found = {}
    for one in tqdm(models, desc="parity", unit="target"):
        data = read_training_set(TRAINING / f"{one.target.name}.parquet", one.target)
        rows = hard_rows(data.rows[: params.rows], seed)
        worst = check_parity(one, exported, rows, params.tolerance)
        found[one.target.name] = {"relative_error": worst, "rows": len(rows)}
        logger.info("%s: ONNX within %.1e of XGBoost on %d rows", one.target.name, worst, len(rows))
    return found


def read_summary(path: Path) -> dict[str, Any]:
    """The training summary. Raises TrainingError where it is missing or no JSON object with each target."""
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        complete = set(summary["targets"]) == {target.name for target in QUANTILE_TARGETS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path}: not a training summary ({error}); run `dvc repro train`") from error
    if not complete:
        raise TrainingError(f"{path}: made for other targets; run `dvc repro train`")
    return dict(summary)


if __name__ == "__main__":
    run_stage(main)
