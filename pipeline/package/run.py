"""Stage `package`: writes models and tuned settings as one verified bundle and registers it in MLflow."""

import json
import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import field_validator

from ...data.atomic import write_text
from ...models.registry.signing import sign_bundle
from ...models.registry.versions import REGISTERED_MODEL
from ...models.serving.bundle import Provenance, write_bundle
from ...models.serving.manifest import BundleError, vllm_range
from ...models.serving.settings import SchedulerSettings, SettingsError
from ..project import paths
from ..project.params import Section, load_params
from ..project.stage import StageError
from ..project.tracking import git_revision
from .registration import register_bundle

logger = logging.getLogger(__name__)

SIGNING_KEY = "AUGSERVE_SIGNING_KEY"
"""Variable with the file of the key that signs each bundle before it is registered; unset: none does."""
PROMOTION = Path("reports/package/promotion.md")


class PackageParams(Section):
    SECTION = "package"
    vllm_range: str

    @field_validator("vllm_range")
    @classmethod
    def _is_a_range(cls, value: str) -> str:
        try:
            vllm_range(value.strip() or "none")
        except BundleError as error:
            raise ValueError("a range like '>=0.29,<0.33'") from error
        return value


def main() -> None:
    params = load_params(PackageParams)
    settings = read_settings(paths.TUNED_SETTINGS)
    training, evaluation = _read_json(paths.TRAINING_METRICS), _read_json(paths.EVALUATION_METRICS)
    summary = evaluation.get("summary", {})
    provenance = Provenance(git_revision(), params.vllm_range, training, summary)
    bundle = write_bundle(paths.BUNDLE, paths.ONNX, settings, provenance, datetime.now(UTC))
    if key_file := os.environ.get(SIGNING_KEY):
        bundle, _ = sign_bundle(paths.BUNDLE, Path(key_file))
    version, why = register_bundle(bundle, training, evaluation)
    write_text(PROMOTION, f"# Version {version.number}, bundle {bundle.version}\n\n{why}\n")
    logger.info(
        "bundle %s in %s is version %d of %s. %s", bundle.version, paths.BUNDLE, version.number, REGISTERED_MODEL, why
    )


def read_settings(path: Path) -> SchedulerSettings:
    """Raises StageError for a missing file or other content than JSON, and SettingsError for wrong settings."""
    value = _read_json(path)
    try:
        return SchedulerSettings.from_json(value)
    except TypeError as error:
        raise SettingsError(f"{path}: not the settings of a scheduler ({error}); run `dvc repro tune`") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StageError(f"{path}: {error}; run `dvc repro`") from error
    if not isinstance(value, dict):
        raise StageError(f"{path}: must be a JSON object; run `dvc repro`")
    return value
