"""Bundles that replace the one of a running server."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

from augserve.data.atomic import replace_folder
from augserve.models.serving.bundle import Provenance, write_bundle
from augserve.models.serving.settings import SchedulerSettings


def another_bundle(models: Path, folder: Path, number: int) -> Path:
    """A bundle of these models; the number tells one from the other."""
    settings = SchedulerSettings(max_wait_s=100.0 + number)
    write_bundle(folder, models, settings, Provenance("unknown", ">=0.27,<1", {}, {}), datetime.now(UTC))
    return folder


def version_of(bundle: Path) -> str:
    return str(json.loads((bundle / "manifest.json").read_text())["version"])


def put(bundle: Path, served: Path) -> str:
    """Replace the served bundle at once; returns the version."""
    replace_folder(served, lambda folder: shutil.copytree(bundle, folder, dirs_exist_ok=True))
    return version_of(bundle)
