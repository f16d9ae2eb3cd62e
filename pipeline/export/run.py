"""Stage `export`: writes the trained models as ONNX after a check that ONNX Runtime and XGBoost agree."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from tqdm import tqdm

from ...data.atomic import replace_folder, write_json
from ...models.learning.onnx_export import check_parity, export_models, hard_rows
from ...models.learning.target_models import TargetModels, load_models
from ...models.learning.training_set import TrainingError, TrainingSet, read_training_sets
from ...models.serving.drift import DRIFT_FILE, DriftReference, reference
from ...models.serving.onnx_predictor import GRAPHS, TOOL_CALLS, OnnxPredictor
from ...models.serving.target import TARGETS
from ...models.serving.tool_tables import TableError, ToolTables
from ..project import paths
from ..project.params import BaseParams, Section, load_params

logger = logging.getLogger(__name__)

METRICS = Path("reports/export/metrics.json")
_EXPECTED = [feature.name for feature in TOOL_CALLS.features].index("expected")


class ExportParams(Section):
    SECTION = "export"
    tolerance: float = Field(gt=0, le=0.01)
    rows: int = Field(ge=1)


def main() -> None:
    seed = load_params(BaseParams).seed
    params = load_params(ExportParams)
    summary = read_summary(paths.TRAINING_SUMMARY)
    models = [load_models(paths.TRAINED, target) for target in TARGETS]
    tables = read_tables(paths.TOOL_TABLES)
    sets = {data.target.name: data for data in read_training_sets(paths.TRAINING, TARGETS)}
    parity: dict[str, Any] = {}

    def fill(folder: Path) -> None:
        export_models(models, folder, summary["targets"], tables)
        parity.update(compare(models, folder, sets, params, seed))
        coverage = {name: target["coverage_80"] for name, target in summary["targets"].items()}
        (folder / DRIFT_FILE).write_bytes(drift_reference(sets, coverage).render())

    replace_folder(paths.ONNX, fill)
    write_json(METRICS, parity)


def compare(
    models: list[TargetModels], folder: Path, sets: dict[str, TrainingSet], params: ExportParams, seed: int
) -> dict[str, dict[str, float]]:
    """Largest relative difference and number of rows, by target. Raises ExportError beyond `params.tolerance`."""
    exported = OnnxPredictor.load(folder)
    generator = np.random.default_rng(seed)
    parity = {}
    for trained in tqdm(models, desc="parity", unit="target"):
        name = trained.target.name
        rows = sets[name].rows
        chosen = np.sort(generator.permutation(len(rows))[: params.rows])
        hard = hard_rows(rows[chosen], seed)
        worst = check_parity(trained, exported, hard, params.tolerance)
        parity[name] = {"relative_error": worst, "rows": len(hard), "real_rows": len(chosen)}
        logger.info("%s: ONNX within %.1e of XGBoost on %d rows", name, worst, len(hard))
    return parity


def read_tables(path: Path) -> ToolTables:
    """The quantiles by tool. Raises TrainingError where they are missing or damaged."""
    try:
        return ToolTables.parse([path.read_bytes()])
    except OSError as error:
        raise TrainingError(f"{path}: {error.strerror}; run `dvc repro train`") from error
    except TableError as error:
        raise TrainingError(f"{path}: {error}; run `dvc repro train`") from error


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


def drift_reference(sets: Mapping[str, TrainingSet], coverage_80: Mapping[str, float | None]) -> DriftReference:
    """Histograms of the training rows of each graph, and the coverage of the 80 % intervals of each target.

    The rows of a graph's first target stand for all its targets. Of tool calls only the expected ones count, because
    serving computes features before the call is known.
    """
    rows = {}
    for graph in GRAPHS:
        data = sets[graph.targets[0].name]
        learned = data.rows[data.parts != "test"]
        if graph is TOOL_CALLS:
            learned = learned[learned[:, _EXPECTED] == 1]
        rows[graph.file] = learned
    return reference(rows, {name: value for name, value in coverage_80.items() if value is not None})
