"""Stage `package`: models and tuned settings as one verified bundle, registered in MLflow."""

import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...data.atomic import write_text
from ...models.registry.versions import REGISTERED_MODEL
from ...models.serving.bundle import Provenance, write_bundle
from ...models.serving.manifest import vllm_range
from ...models.serving.settings import SchedulerSettings, SettingsError
from ..export.run import ONNX
from ..project.params import load_params, require
from ..project.stage import StageError
from ..project.tracking import git_revision
from ..train.run import METRICS as TRAINING
from .registration import EVALUATION, register_bundle

logger = logging.getLogger(__name__)

PROMOTION = Path("reports/package/promotion.md")
SETTINGS = Path("models/tuned/scheduler.json")
BUNDLE = Path("models/bundle")


@dataclass(frozen=True, slots=True)
class PackageParams:
    vllm_range: str

    def __post_init__(self) -> None:
        require(bool(self.vllm_range.strip()), "package.vllm_range", self.vllm_range, "a range like '>=0.29,<0.33'")
        vllm_range(self.vllm_range)


def main() -> None:
    params = load_params("package", PackageParams)
    settings = read_settings(SETTINGS)
    training, evaluation = _read_json(TRAINING), _read_json(EVALUATION)
    summary = evaluation.get("summary", {})
    provenance = Provenance(git_revision(), params.vllm_range, training, summary)
    bundle = write_bundle(BUNDLE, ONNX, settings, provenance, datetime.now(UTC))
    version, why = register_bundle(bundle, training, evaluation)
    write_text(PROMOTION, f"# Version {version.number}, bundle {bundle.version}\n\n{why}\n")
    logger.info(
        "bundle %s in %s is version %d of %s. %s", bundle.version, BUNDLE, version.number, REGISTERED_MODEL, why
    )


def read_settings(path: Path) -> SchedulerSettings:
    """Raises SettingsError for a missing or wrong file."""
    value = _read_json(path)
    try:
        return SchedulerSettings.from_json(value)
    except TypeError as error:
        raise SettingsError(f"{path}: not a scheduler's settings ({error}); run `dvc repro tune`") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StageError(f"{path}: {error}; run `dvc repro`") from error
    if not isinstance(value, dict):
        raise StageError(f"{path}: must be a JSON object; run `dvc repro`")
    return value
