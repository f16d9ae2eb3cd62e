"""Stage `package`: models and tuned settings as one verified bundle, registered in MLflow."""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..models.bundle import Bundle, Origin, write_bundle
from ..models.manifest import vllm_range
from ..models.registry import register, registered_version
from ..models.settings import SchedulerSettings, SettingsError
from .export import ONNX
from .params import load_params, require
from .stage import StageError, run_stage
from .tracking import experiment_run, git_revision, tracking_client
from .train import METRICS as TRAINING

logger = logging.getLogger(__name__)

EVALUATION = Path("reports/evaluate/metrics.json")
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
    origin = Origin(git_revision(), params.vllm_range, training, summary)
    bundle = write_bundle(BUNDLE, ONNX, settings, origin, datetime.now(UTC))
    number = _register(bundle, dict(numbers(training, "train")) | dict(numbers(summary, "evaluate")))
    logger.info("bundle %s in %s: version %s of the registered model", bundle.version, BUNDLE, number)


def read_settings(path: Path) -> SchedulerSettings:
    """Raises SettingsError for a missing or wrong file."""
    value = _read_json(path)
    try:
        return SchedulerSettings.from_json(value)
    except TypeError as error:
        raise SettingsError(f"{path}: not a scheduler's settings ({error}); run `dvc repro tune`") from error


def numbers(value: object, name: str) -> Iterator[tuple[str, float]]:
    """The numbers of nested objects, each named by its path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from numbers(inner, f"{name}/{key}")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, float(value)


def _register(bundle: Bundle, metrics: dict[str, float]) -> str:
    """Register the bundle unless it is already; gives the version's number."""
    if (known := registered_version(tracking_client(), bundle.version)) is not None:
        return known
    tags = {"git_revision": bundle.manifest.git_revision, "vllm": bundle.manifest.vllm}
    with experiment_run("bundles", bundle.version, {"version": bundle.version, **tags}, tags) as run:
        run.log_metrics(metrics)
        run.log_folder(bundle.path, "bundle")
        artifact_uri = run.client.get_run(run.id).info.artifact_uri
        return register(run.client, bundle.version, run.id, f"{artifact_uri}/bundle", tags)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StageError(f"{path}: {error}; run `dvc repro`") from error
    if not isinstance(value, dict):
        raise StageError(f"{path}: must be a JSON object; run `dvc repro`")
    return value


if __name__ == "__main__":
    run_stage(main)
