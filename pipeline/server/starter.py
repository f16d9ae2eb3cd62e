"""What `make serve` serves in a clone where the pipeline has not run yet: made in two minutes instead of an hour.

The starter bundle is learned from generated sessions of the built-in mix alone, and has the hand-set settings.
"""

import json
import logging
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import yaml

from ...data.atomic import write_text
from ...models.serving.bundle import Provenance, load_bundle, write_bundle
from ...models.serving.manifest import BundleError
from ...models.serving.settings import SchedulerSettings
from ..project import paths
from ..project.params import PARAMS_FILE, BaseParams, load_params
from ..project.stage import StageError
from ..project.tracking import git_revision

logger = logging.getLogger(__name__)

FOLDER = Path("build/starter")
STAGES = ("prepare", "train", "export")
SESSIONS = 400


def ready_model() -> Path:
    """The model, converted if it is missing. Raises StageError or ParamsError."""
    if not (paths.MODEL / "config.json").is_file():
        load_params(BaseParams)  # whether this is a clone
        _run("model", Path())
    return paths.MODEL


def ready_bundle() -> Path:
    """The packaged bundle, else the starter bundle, made if need be. Raises StageError or ParamsError."""
    if (paths.BUNDLE / "manifest.json").is_file():
        return paths.BUNDLE
    bundle = FOLDER / paths.BUNDLE
    try:
        load_bundle(bundle, None)
    except BundleError:  # there is none, or one of another release
        _make(bundle)
    logger.warning("%s: no bundle there; serving %s. `make repro` trains and tunes one", paths.BUNDLE, bundle)
    return bundle


def _make(bundle: Path) -> None:
    load_params(BaseParams)
    sections = yaml.safe_load(PARAMS_FILE.read_text(encoding="utf-8"))
    sections["data"] |= {"sources": []}
    sections["prepare"] |= {"mix_sessions": SESSIONS}
    write_text(FOLDER / PARAMS_FILE, yaml.safe_dump(sections))
    for stage in STAGES:
        _run(stage, FOLDER)
    metrics = json.loads((FOLDER / paths.TRAINING_METRICS).read_text(encoding="utf-8"))
    provenance = Provenance(git_revision(), sections["package"]["vllm_range"], metrics, {})
    write_bundle(bundle, FOLDER / paths.ONNX, SchedulerSettings(), provenance, datetime.now(UTC))


def _run(stage: str, folder: Path) -> None:
    """Run a stage of the pipeline in this folder, in a process of its own."""
    logger.info("stage %s, in %s", stage, folder.resolve())
    ended = subprocess.run([sys.executable, "-m", "augserve.pipeline", stage], cwd=folder, check=False)
    if ended.returncode:
        raise StageError(f"stage {stage} failed in {folder.resolve()}; its error is above")
